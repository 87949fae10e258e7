"""A Jaeger for the traces: the one the user names, or one started here.

First OTEL_EXPORTER_OTLP_ENDPOINT, then a `jaeger` binary on the PATH or in the
cache, where `make jaeger` puts one. Traces are an addition: where there is no
Jaeger there is none, and everything else works. A started Jaeger keeps traces
in memory and listens on the loopback address only, on four ports.
"""

import http.client
import json
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit
from urllib.request import urlopen

from compose.local.cache import cache_directory
from compose.local.child import Child, Command
from compose.local.otlp import Seen, from_jaeger
from compose.local.ports import LOOPBACK, free_port

ENDPOINT_VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"
QUERY_VARIABLE = "JAEGER_QUERY_URL"
DEFAULT_QUERY_PORT = 16686
START_SECONDS = 20.0
HTTP_OK = 200
# The query API fails for limits above what memory holds, so hold plenty.
TRACES_KEPT = 20_000

Progress = Callable[[str], None]


class Jaeger:
    """Where traces go, and where they are looked at."""

    def __init__(self, otlp_endpoint: str, query_url: str, child: Child | None = None) -> None:
        self.otlp_endpoint, self.query_url = otlp_endpoint, query_url
        self._child = child

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def trace_url(self, trace_id: str) -> str:
        """The page of a trace, by its id in 32 hexadecimal digits."""
        return f"{self.query_url}/trace/{trace_id}"

    def spans(self, trace_id: str) -> list[Seen]:
        """What this Jaeger has of a trace; nothing if it cannot be asked."""
        try:
            url = f"{self.query_url}/api/traces/{trace_id}"
            with urlopen(url, timeout=5) as answer:  # noqa: S310  # ours, over http
                return from_jaeger(json.load(answer))
        except (OSError, ValueError, LookupError):
            return []

    def describe(self) -> str:
        kind = "local process" if self._child else f"from {ENDPOINT_VARIABLE}"
        return f"Jaeger at {self.query_url} ({kind})"

    def stop(self) -> None:
        """Stop it, if it was started here."""
        if self._child is not None:
            self._child.stop(signal.SIGTERM)
            self._child = None


def find_jaeger(
    directory: Path,
    *,
    progress: Progress,
    console_url: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Jaeger | None:
    """A Jaeger to use, or None; `console_url` is linked to from spans."""
    if endpoint := environment.get(ENDPOINT_VARIABLE):
        return Jaeger(endpoint.rstrip("/"), _query_url(endpoint, environment))
    binary = find_binary(environment)
    if binary is None:
        progress("no Jaeger: traces are not kept (`make jaeger` builds one)")
        return None
    jaeger = _start(binary, directory, console_url)
    progress(jaeger.describe())
    return jaeger


def find_binary(environment: Mapping[str, str] = os.environ) -> Path | None:
    if on_path := shutil.which("jaeger", path=environment.get("PATH", "")):
        return Path(on_path)
    built = cache_directory(environment) / "bin" / "jaeger"
    return built if built.exists() else None


def _query_url(endpoint: str, environment: Mapping[str, str]) -> str:
    """Named by the user, else the usual port of the host that takes the traces."""
    if named := environment.get(QUERY_VARIABLE):
        return named.rstrip("/")
    return f"http://{urlsplit(endpoint).hostname}:{DEFAULT_QUERY_PORT}"


def _start(binary: Path, directory: Path, console_url: str | None) -> Jaeger:
    directory.mkdir(parents=True, exist_ok=True)
    otlp, query, query_grpc, health = (free_port() for _ in range(4))
    config = directory / "jaeger.json"
    text = json.dumps(configuration(otlp, query, query_grpc, health, directory), indent=2)
    config.write_text(text, encoding="utf-8")
    (directory / "ui.json").write_text(json.dumps(ui_configuration(console_url)), encoding="utf-8")
    child = Child.start(
        Command(
            name="jaeger",
            argv=[str(binary), "--config", f"file:{config}"],
            log=directory / "jaeger.log",
            cwd=directory,
            farewell=signal.SIGKILL,
        )
    )
    try:
        child.await_ready(lambda: _is_healthy(health), seconds=START_SECONDS)
    except BaseException:
        child.kill()
        raise
    return Jaeger(f"http://{LOOPBACK}:{otlp}", f"http://{LOOPBACK}:{query}", child)


def _is_healthy(port: int) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=1)
    try:
        connection.request("GET", "/status")
        return connection.getresponse().status == HTTP_OK
    except OSError:
        return False
    finally:
        connection.close()


def configuration(
    otlp: int, query: int, query_grpc: int, health: int, directory: Path
) -> dict[str, object]:
    """What Jaeger runs: OTLP over HTTP in, memory, the query API and its pages out."""
    pipeline = {
        "receivers": ["otlp"],
        "processors": ["batch"],
        "exporters": ["jaeger_storage_exporter"],
    }
    return {
        "service": {
            "extensions": ["jaeger_storage", "jaeger_query", "healthcheckv2"],
            "pipelines": {"traces": pipeline},
            "telemetry": {"metrics": {"level": "none"}, "logs": {"level": "warn"}},
        },
        "extensions": {
            "healthcheckv2": {"use_v2": True, "http": _listen(health)},
            "jaeger_storage": {"backends": {"mem": {"memory": {"max_traces": TRACES_KEPT}}}},
            "jaeger_query": {
                "storage": {"traces": "mem"},
                "http": _listen(query),
                "grpc": _listen(query_grpc),
                "enable_tracing": False,
                "ui": {"config_file": str(directory / "ui.json")},
            },
        },
        "receivers": {"otlp": {"protocols": {"http": _listen(otlp)}}},
        "processors": {"batch": {"timeout": "200ms"}},
        "exporters": {"jaeger_storage_exporter": {"trace_storage": "mem"}},
    }


def ui_configuration(console_url: str | None) -> dict[str, object]:
    """Links from a span's transaction id to our own page about that transaction."""
    if console_url is None:
        return {}
    key = "twofold.txn.id"
    url = f"{console_url.rstrip('/')}/transactions/#{{{key}}}"
    return {"linkPatterns": [{"type": "tags", "key": key, "url": url, "text": "Open in Twofold"}]}


def _listen(port: int) -> dict[str, str]:
    return {"endpoint": f"{LOOPBACK}:{port}"}
