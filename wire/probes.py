"""Answers for whoever watches a process and asks whether it lives, and whether it can work.

    GET /live   200 as long as the process turns
    GET /ready  200 if it can work, else 503; the body says why not

No more of HTTP (RFC 9112) than a probe needs: one request a connection, and
whatever else comes is refused or cut off. It shares the loop with the work, so
that no answer means what it should: the process hangs.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

import structlog

logger = structlog.get_logger(__name__)

PATIENCE_S: Final = 2.0
LONGEST_LINE: Final = 4_096
ACCEPTED: Final = ("GET", "HEAD")

Unready = Callable[[], Sequence[str]]
"""Says what keeps the process from working; nothing if it can."""


class CannotListen(Exception):
    """The place for probes is no address, or is taken; says what to do."""


@asynccontextmanager
async def probes(listen: str, unready: Unready) -> AsyncGenerator[int]:
    """Answer at ``host:port`` meanwhile, and yield the port; nowhere if ``listen`` is empty.

    Raises:
        CannotListen: it is no address, or is taken.

    """
    if not listen:
        yield 0
        return

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _answer(reader, writer, unready)

    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal():
        raise CannotListen(f"probes cannot listen at {listen!r}: give it as host:port")
    try:
        server = await asyncio.start_server(
            answer, host.strip("[]") or None, int(port), limit=LONGEST_LINE
        )
    except (OSError, OverflowError) as error:
        said = f"probes cannot listen at {listen}: {error}; choose another place for them"
        raise CannotListen(said) from error
    at = int(server.sockets[0].getsockname()[1])
    logger.info("probes", listen=f"{host}:{at}")
    try:
        yield at
    finally:
        server.close()


async def _answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, unready: Unready
) -> None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            line = await reader.readline()
            while (await reader.readline()).strip():
                pass  # no header changes the answer
            writer.write(response(line, unready))
            await writer.drain()
    except (TimeoutError, OSError, ValueError):
        pass  # too slow, gone, or a line without an end: nobody is waiting for our answer
    finally:
        writer.close()


def response(line: bytes, unready: Unready) -> bytes:
    """Answer a request by its first line."""
    method, _, rest = line.decode("latin-1").strip().partition(" ")
    path = rest.partition(" ")[0].partition("?")[0]
    if method not in ACCEPTED:
        return _said(HTTPStatus.METHOD_NOT_ALLOWED, {"why": ["only GET"]}, "Allow: GET, HEAD\r\n")
    match path:
        case "/live":
            made = _said(HTTPStatus.OK, {"live": True})
        case "/ready":
            why = list(unready())
            status = HTTPStatus.SERVICE_UNAVAILABLE if why else HTTPStatus.OK
            made = _said(status, {"ready": not why, "why": why})
        case _:
            made = _said(HTTPStatus.NOT_FOUND, {"why": ["there are /live and /ready"]})
    return made.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if method == "HEAD" else made


def _said(status: HTTPStatus, body: dict[str, object], more: str = "") -> bytes:
    text = json.dumps(body).encode() + b"\n"
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(text)}\r\nCache-Control: no-store\r\n{more}Connection: close\r\n\r\n"
    )
    return head.encode() + text
