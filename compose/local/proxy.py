"""A TCP proxy that misbehaves on request: the network's faults, without root.

It stands between a client and one server. A new setting holds at once, for
connections that are open as well as for new ones. Bytes are never reordered
or altered; dropped bytes are gone, so what follows them on the same connection
is out of step, just as when a path dies in the middle of a message.
"""

import asyncio
import contextlib
from dataclasses import dataclass
from enum import Enum, auto
from typing import Self

CHUNK_BYTES = 64 * 1024


class Way(Enum):
    """A direction through the proxy."""

    TO_SERVER = auto()
    TO_CLIENT = auto()


@dataclass
class Faults:
    """What the proxy does wrong now; a fresh one does nothing wrong."""

    delay_seconds: float = 0.0
    dropped: frozenset[Way] = frozenset()
    refusing: bool = False


class FaultProxy:
    """Listens on one port and passes bytes to and from a server."""

    def __init__(self, target_host: str, target_port: int) -> None:
        self._target = (target_host, target_port)
        self._faults = Faults()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    @classmethod
    async def start(
        cls, target_port: int, *, port: int = 0, target_host: str = "127.0.0.1"
    ) -> Self:
        proxy = cls(target_host, target_port)
        proxy._server = await asyncio.start_server(proxy._accept, "127.0.0.1", port)
        proxy.port = proxy._server.sockets[0].getsockname()[1]
        return proxy

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def delay(self, seconds: float) -> None:
        """Hold every chunk of bytes back for this long, each way."""
        self._faults.delay_seconds = seconds

    def drop(self, *ways: Way) -> None:
        """Swallow what goes these ways; both if none is named."""
        self._faults.dropped = frozenset(ways or Way)

    def refuse(self) -> None:
        """Cut off every new connection at once; open ones stay."""
        self._faults.refusing = True

    def reset(self) -> None:
        """Break every open connection with a TCP reset."""
        for writer in self._open:
            writer.transport.abort()

    def heal(self) -> None:
        """Do nothing wrong from now on."""
        self._faults = Faults()

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.reset()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection both ways until either side ends it."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.add(writer)
        try:
            if not self._faults.refusing:
                await self._carry(reader, writer)
        except (OSError, asyncio.CancelledError):
            # The server cannot be reached, a side broke off, or the proxy stops: the
            # client sees a reset. asyncio would report a connection that is cancelled.
            pass
        finally:
            writer.transport.abort()
            self._open.discard(writer)
            self._tasks.discard(task)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(*self._target)
        self._open.add(server_writer)
        try:
            ways = [
                asyncio.create_task(self._pump(reader, server_writer, Way.TO_SERVER)),
                asyncio.create_task(self._pump(server_reader, writer, Way.TO_CLIENT)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        finally:
            server_writer.transport.abort()
            self._open.discard(server_writer)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, way: Way
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(CHUNK_BYTES):
                if self._faults.delay_seconds:
                    await asyncio.sleep(self._faults.delay_seconds)
                if way not in self._faults.dropped:
                    sink.write(data)
                    await sink.drain()
