"""The fault proxy: each fault does what it says, and healing ends it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from compose.local.proxy import FaultProxy, Way

QUIET_SECONDS = 0.15


@pytest.fixture
async def proxy() -> AsyncIterator[FaultProxy]:
    """A proxy in front of a server that sends every line back."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with await FaultProxy.start(server.sockets[0].getsockname()[1]) as made:
        yield made
    server.close()
    await server.wait_closed()


class Client:
    """A connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, proxy: FaultProxy) -> "Client":
        return cls(*await asyncio.open_connection("127.0.0.1", proxy.port))

    async def ask(self, line: bytes, seconds: float = 5.0) -> bytes:
        self.writer.write(line)
        return await asyncio.wait_for(self.reader.readline(), seconds)

    def close(self) -> None:
        self.writer.transport.abort()


async def test_without_faults_bytes_pass(proxy: FaultProxy) -> None:
    """What goes in comes out."""
    client = await Client.open(proxy)
    assert await client.ask(b"one\n") == b"one\n"
    client.close()


@pytest.mark.parametrize("way", list(Way))
async def test_dropped_bytes_never_arrive_and_later_ones_do(proxy: FaultProxy, way: Way) -> None:
    """Each way by itself can be cut, on a connection that stays open."""
    client = await Client.open(proxy)
    assert await client.ask(b"before\n") == b"before\n"

    proxy.drop(way)
    with pytest.raises(TimeoutError):
        await client.ask(b"lost\n", QUIET_SECONDS)

    proxy.heal()
    assert await client.ask(b"after\n") == b"after\n"
    client.close()


async def test_a_delay_holds_each_way(proxy: FaultProxy) -> None:
    """There and back is twice the delay."""
    client = await Client.open(proxy)
    proxy.delay(0.05)
    started = asyncio.get_running_loop().time()

    assert await client.ask(b"slow\n") == b"slow\n"
    assert asyncio.get_running_loop().time() - started >= 0.09
    client.close()


async def test_a_reset_breaks_open_connections_only(proxy: FaultProxy) -> None:
    """The client must connect again, and then can."""
    client = await Client.open(proxy)
    await client.ask(b"one\n")
    proxy.reset()
    assert await ended(client)

    again = await Client.open(proxy)
    assert await again.ask(b"two\n") == b"two\n"
    again.close()


async def test_refusing_cuts_new_connections_until_healed(proxy: FaultProxy) -> None:
    """A connection that was open before goes on."""
    old = await Client.open(proxy)
    await old.ask(b"one\n")
    proxy.refuse()
    assert await ended(await Client.open(proxy))
    assert await old.ask(b"two\n") == b"two\n"

    proxy.heal()
    new = await Client.open(proxy)
    assert await new.ask(b"three\n") == b"three\n"
    old.close()
    new.close()


async def test_a_server_that_is_not_there_ends_the_connection() -> None:
    """The proxy hides nothing: no server, no connection."""
    async with await FaultProxy.start(1) as proxy:
        assert await ended(await Client.open(proxy))


async def ended(client: Client) -> bool:
    try:
        return await client.ask(b"anyone?\n") == b""
    except ConnectionError:
        return True
    finally:
        client.close()
