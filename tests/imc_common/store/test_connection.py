"""One connection to a peer whose replies the test chooses."""

from __future__ import annotations

import asyncio
import gc
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from imc_common.store import ReplyError, StoreUnreachable
from imc_common.store import connection as connection_module
from imc_common.store.connection import RedisConnection
from tests.patience import PATIENCE

PING = ("PING",)


class Peer(asyncio.Protocol):
    """The server's side: records what it receives and sends what it is told."""

    def __init__(self) -> None:
        self.received = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data

    async def reply(self, data: bytes) -> None:
        self.transport.write(data)
        await asyncio.sleep(0.01)


@pytest.fixture
async def ends() -> AsyncIterator[tuple[RedisConnection, Peer]]:
    """A connection and its peer."""
    loop = asyncio.get_running_loop()
    peer = Peer()
    with tempfile.TemporaryDirectory() as folder:
        server = await loop.create_unix_server(lambda: peer, str(Path(folder) / "s"))
        _, connection = await loop.create_unix_connection(
            lambda: RedisConnection("test"), str(Path(folder) / "s")
        )
        yield connection, peer
        connection.end("test is over")
        server.close()
        await asyncio.sleep(0.01)


async def test_replies_are_assembled_from_any_pieces(ends: tuple[RedisConnection, Peer]) -> None:
    """Here byte by byte, across commands and pipelines."""
    connection, peer = ends
    first, second = connection.send([PING, PING], 5), connection.send([PING], 5)
    for byte in b"+ONE\r\n*2\r\n:1\r\n$3\r\ntwo\r\n-WRONGTYPE no\r\n":
        await peer.reply(bytes([byte]))
    assert (await first).replies == [b"ONE", [1, b"two"]]
    (error,) = (await second).replies
    assert isinstance(error, ReplyError)
    assert (error.code, str(error)) == ("WRONGTYPE", "WRONGTYPE no")
    assert ((await first).codes, (await second).codes) == (set(), {"WRONGTYPE"})
    assert peer.received == b"*1\r\n$4\r\nPING\r\n" * 3


async def test_replies_are_freed_with_their_last_reference(ends: tuple[RedisConnection, Peer]) -> None:
    """They are in no reference cycle, because they are most of a process's memory."""
    connection, peer = ends
    for _ in range(2):  # the first round may leave garbage of the event loop
        gc.collect()
        waiting = connection.send([PING], 5)
        await peer.reply(b"*1\r\n+PONG\r\n")
        assert (await waiting).replies == [[b"PONG"]]
        del waiting
        connection.send([PING], 5)
        await peer.reply(b"+PONG\r\n")
        unreachable = gc.collect()
    assert unreachable == 0


async def test_a_caller_that_gives_up_does_not_shift_the_replies(ends: tuple[RedisConnection, Peer]) -> None:
    """The replies to a cancelled pipeline are dropped; the next pipeline gets its own."""
    connection, peer = ends
    given_up, waiting = connection.send([PING], 5), connection.send([PING], 5)
    given_up.cancel()
    await peer.reply(b"+1\r\n+2\r\n")
    assert (await waiting).replies == [b"2"]


async def test_a_connection_without_replies_ends(
    ends: tuple[RedisConnection, Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All pipelines in flight fail, because a late reply could be taken for that of another command."""
    monkeypatch.setattr(connection_module, "QUIET_SECONDS", 0.1)
    connection, _ = ends
    both = [connection.send([PING], 0.1), connection.send([PING], 30)]
    for pending in both:
        with pytest.raises(StoreUnreachable, match="no reply in time"):
            await pending
    with pytest.raises(StoreUnreachable):
        connection.send([PING], 1)


async def test_a_long_pipeline_is_not_taken_for_a_lost_one(
    ends: tuple[RedisConnection, Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While replies keep coming, a pipeline may take longer than its deadline."""
    monkeypatch.setattr(connection_module, "QUIET_SECONDS", PATIENCE)
    connection, peer = ends
    pending = connection.send([PING] * 8, 0.1)
    for _ in range(8):
        await peer.reply(b"+OK\r\n")
        await asyncio.sleep(0.1)
    assert (await pending).replies == [b"OK"] * 8


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"*-7\r\n"])
async def test_a_peer_that_is_not_redis_ends_the_connection(
    ends: tuple[RedisConnection, Peer], garbage: bytes
) -> None:
    """The wrong port is reported at once."""
    connection, peer = ends
    pending = connection.send([PING], 5)
    await peer.reply(garbage)
    with pytest.raises(StoreUnreachable, match="does not speak RESP"):
        await pending


async def test_a_closed_connection_fails_pipelines_in_flight(ends: tuple[RedisConnection, Peer]) -> None:
    """The owner of the connection is told, too."""
    connection, peer = ends
    told: list[RedisConnection] = []
    connection.on_end = told.append
    pending = connection.send([PING, PING], 5)
    await peer.reply(b"+OK\r\n")
    peer.transport.close()
    with pytest.raises(StoreUnreachable, match="closed by the server"):
        await pending
    assert told == [connection]
