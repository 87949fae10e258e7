"""Jaeger is found, started on the loopback address, and may be absent."""

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from compose.local import command
from compose.local.errors import StackError
from compose.local.jaeger import configuration, find_jaeger, ui_configuration

# Stands for the binary: it reads the configuration and answers its health check.
STAND_IN = f"""#!{sys.executable}
import http.server, json, sys
config = json.load(open(sys.argv[2].removeprefix("file:")))
host, port = config["extensions"]["healthcheckv2"]["http"]["endpoint"].split(":")
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/status" else 404)
        self.end_headers()
http.server.HTTPServer((host, int(port)), Health).serve_forever()
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment in which a Jaeger is neither named nor built."""
    return {"PATH": str(tmp_path / "bin"), "TWOFOLD_CACHE": str(tmp_path / "cache")}


def place_stand_in(folder: Path, text: str = STAND_IN) -> None:
    folder.mkdir(parents=True)
    binary = folder / "jaeger"
    binary.write_text(text)
    binary.chmod(binary.stat().st_mode | stat.S_IXUSR)


def test_without_a_jaeger_there_is_none_and_a_hint(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    """Traces are an addition, so their absence is no error."""
    said: list[str] = []

    assert find_jaeger(tmp_path, progress=said.append, environment=environment) is None
    assert "make jaeger" in said[0]


def test_the_endpoint_that_the_user_names_is_used_as_it_is(tmp_path: Path) -> None:
    """The pages are expected on the usual port of the same host, unless named too."""
    named = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://traces:4318/"}
    jaeger = find_jaeger(tmp_path, progress=lambda _: None, environment=named)
    assert jaeger is not None
    assert jaeger.otlp_endpoint == "http://traces:4318"
    assert jaeger.trace_url("ab") == "http://traces:16686/trace/ab"

    named["JAEGER_QUERY_URL"] = "https://pages/"
    jaeger = find_jaeger(tmp_path, progress=lambda _: None, environment=named)
    assert jaeger is not None
    assert jaeger.trace_url("ab") == "https://pages/trace/ab"


@pytest.mark.parametrize("folder", ["bin", "cache/bin"])
def test_a_binary_is_started_and_stopped(
    tmp_path: Path, environment: dict[str, str], folder: str
) -> None:
    """From the PATH as well as from where `make jaeger` puts it."""
    place_stand_in(tmp_path / folder)
    jaeger = find_jaeger(tmp_path / "run", progress=lambda _: None, environment=environment)

    assert jaeger is not None
    with jaeger:
        assert jaeger.otlp_endpoint.startswith("http://127.0.0.1:")
        assert "local process" in jaeger.describe()


def test_a_binary_that_fails_shows_its_log(tmp_path: Path, environment: dict[str, str]) -> None:
    """As for every process of the stack."""
    place_stand_in(tmp_path / "bin", "#!/bin/sh\necho cannot read that >&2\nexit 3\n")

    with pytest.raises(StackError, match=r"code 3(.|\n)*cannot read that"):
        find_jaeger(tmp_path / "run", progress=lambda _: None, environment=environment)


def endpoints(value: Any) -> list[str]:
    if not isinstance(value, dict):
        return []
    found: list[str] = []
    for key, inner in value.items():  # pyright: ignore[reportUnknownVariableType]
        found += [str(inner)] if key == "endpoint" else endpoints(inner)  # pyright: ignore[reportUnknownArgumentType]
    return found


def test_it_listens_on_the_loopback_address_only(tmp_path: Path) -> None:
    """Four ports, each with its address."""
    found = endpoints(json.loads(json.dumps(configuration(1, 2, 3, 4, tmp_path))))

    assert sorted(found) == [f"127.0.0.1:{port}" for port in (1, 2, 3, 4)]


def test_a_span_links_to_the_page_of_its_transaction() -> None:
    """The tag's value becomes part of our address."""
    (pattern,) = json.loads(json.dumps(ui_configuration("http://here:1/")))["linkPatterns"]

    assert pattern["url"] == "http://here:1/transactions/#{twofold.txn.id}"
    assert ui_configuration(None) == {}


def test_dev_says_in_one_line_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback for a wrong environment."""
    monkeypatch.setitem(os.environ, "TWOFOLD_STACK", "nonsense")

    result = CliRunner().invoke(command.app, ["--directory", str(tmp_path)])

    assert result.exit_code == 3
    assert result.stderr.startswith("error: TWOFOLD_STACK is 'nonsense'")
