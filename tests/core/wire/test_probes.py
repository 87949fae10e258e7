"""Probes, spoken to as a stranger would."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest

from wire import probes as wire_probes
from wire.probes import CannotListen, probes, response


def ask(said: bytes, why: list[str] | None = None) -> tuple[bytes, bytes, dict[str, Any]]:
    """Serve with these reasons, say something, and return the head, the body and its JSON."""
    reasons = why or []

    async def run() -> bytes:
        async with probes("127.0.0.1:0", lambda: reasons) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(said)
            answer = await asyncio.wait_for(reader.read(), 10)
            writer.close()
            return answer

    answer = asyncio.run(run())
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body, json.loads(body) if body else {}


def get(path: str, why: list[str] | None = None) -> tuple[str, dict[str, Any]]:
    head, _, said = ask(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), why)
    return head.split(b"\r\n")[0].decode(), said


def test_a_process_that_can_work_is_ready() -> None:
    """Both answers are yes."""
    assert get("/live") == ("HTTP/1.1 200 OK", {"live": True})
    assert get("/ready") == ("HTTP/1.1 200 OK", {"ready": True, "why": []})
    assert get("/ready?verbose") == ("HTTP/1.1 200 OK", {"ready": True, "why": []})


def test_a_process_that_cannot_work_lives_and_says_why_it_is_not_ready() -> None:
    """It must not be killed for the trouble of others."""
    assert get("/live", ["the log is away"])[0] == "HTTP/1.1 200 OK"
    assert get("/ready", ["the log is away"]) == (
        "HTTP/1.1 503 Service Unavailable",
        {"ready": False, "why": ["the log is away"]},
    )


def test_what_is_no_probe_is_refused() -> None:
    """By the status that HTTP has for it."""
    assert get("/")[0] == "HTTP/1.1 404 Not Found"
    head, _, _ = ask(b"POST /ready HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc")
    assert head.startswith(b"HTTP/1.1 405 ")
    assert b"Allow: GET, HEAD" in head
    assert ask(b"\x00\xff\xfe\r\n\r\n")[0].startswith(b"HTTP/1.1 405 ")


def test_head_is_get_without_a_body() -> None:
    """The status is what most look at."""
    head, body, _ = ask(b"HEAD /ready HTTP/1.1\r\n\r\n", ["no"])
    assert head.startswith(b"HTTP/1.1 503 ")
    assert body == b""


def test_the_length_that_is_told_is_the_length() -> None:
    """Whoever keeps to it reads all of the body, also if it is no ASCII."""
    head, _, body = response(b"GET /ready HTTP/1.1", lambda: ["zu spät"]).partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head


@pytest.mark.parametrize(
    "said", [b"GET /live HTTP/1.1\r\nX: y\r\n", b"GET", b"", b"GET /" + b"x" * 9_000]
)
def test_who_does_not_come_to_an_end_is_cut_off(
    said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And costs nobody else an answer."""
    monkeypatch.setattr(wire_probes, "PATIENCE_S", 0.2)

    async def run() -> tuple[bytes, bytes]:
        async with probes("127.0.0.1:0", list) as port:
            slow, slow_writer = await asyncio.open_connection("127.0.0.1", port)
            slow_writer.write(said)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /live HTTP/1.1\r\n\r\n")
            answers = await reader.read(), await asyncio.wait_for(_rest(slow), 10)
            slow_writer.close()
            writer.close()
            return answers

    quick, nothing = asyncio.run(run())
    assert quick.startswith(b"HTTP/1.1 200 OK")
    assert nothing == b""


async def _rest(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


def test_a_place_that_is_taken_or_no_place_is_told() -> None:
    """With what to do."""

    async def run(listen: str) -> None:
        async with probes(listen, list):
            pass

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match="choose another place"):
            asyncio.run(run(f"127.0.0.1:{port}"))
    for nonsense in ("8080", "localhost:", "localhost:http"):
        with pytest.raises(CannotListen, match="give it as host:port"):
            asyncio.run(run(nonsense))
    with pytest.raises(CannotListen):
        asyncio.run(run("127.0.0.1:70000"))


def test_nobody_asks_if_no_place_is_given() -> None:
    """Off is the default."""

    async def run() -> int:
        async with probes("", list) as port:
            return port

    assert asyncio.run(run()) == 0
