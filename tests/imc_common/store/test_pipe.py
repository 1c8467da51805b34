"""One connection, against a peer that answers as the test says."""

from __future__ import annotations

import asyncio
import gc
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from imc_common.store import ReplyError, StoreUnreachable
from imc_common.store import pipe as pipe_module
from imc_common.store.pipe import Pipe
from tests.patience import PATIENCE

PING = ("PING",)


class Peer(asyncio.Protocol):
    """The server's side: what came in, and a way to answer."""

    def __init__(self) -> None:
        self.received = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data

    async def answer(self, data: bytes) -> None:
        self.transport.write(data)
        await asyncio.sleep(0.01)


@pytest.fixture
async def ends() -> AsyncIterator[tuple[Pipe, Peer]]:
    """A pipe and its peer, connected."""
    loop = asyncio.get_running_loop()
    peer = Peer()
    with tempfile.TemporaryDirectory() as folder:
        server = await loop.create_unix_server(lambda: peer, str(Path(folder) / "s"))
        _, pipe = await loop.create_unix_connection(lambda: Pipe("test"), str(Path(folder) / "s"))
        yield pipe, peer
        pipe.end("test is over")
        server.close()
        await asyncio.sleep(0.01)


async def test_replies_may_come_in_any_pieces(ends: tuple[Pipe, Peer]) -> None:
    """Byte by byte, across commands and pipelines."""
    pipe, peer = ends
    first, second = pipe.send([PING, PING], 5), pipe.send([PING], 5)
    for byte in b"+ONE\r\n*2\r\n:1\r\n$3\r\ntwo\r\n-WRONGTYPE no\r\n":
        await peer.answer(bytes([byte]))
    assert (await first).replies == [b"ONE", [1, b"two"]]
    (error,) = (await second).replies
    assert isinstance(error, ReplyError)
    assert (error.code, str(error)) == ("WRONGTYPE", "WRONGTYPE no")
    assert ((await first).codes, (await second).codes) == (set(), {"WRONGTYPE"})
    assert peer.received == b"*1\r\n$4\r\nPING\r\n" * 3


async def test_replies_go_with_their_last_user(ends: tuple[Pipe, Peer]) -> None:
    """No cycle keeps them until a garbage collection: they are what most of a process's memory goes to."""
    pipe, peer = ends
    for _ in range(2):  # the first may leave something of the event loop's
        gc.collect()
        waiting = pipe.send([PING], 5)
        await peer.answer(b"*1\r\n+PONG\r\n")
        assert (await waiting).replies == [[b"PONG"]]
        del waiting
        pipe.send([PING], 5)
        await peer.answer(b"+PONG\r\n")
        unreachable = gc.collect()
    assert unreachable == 0


async def test_a_caller_that_gives_up_does_not_shift_the_replies(ends: tuple[Pipe, Peer]) -> None:
    """Replies of a cancelled pipeline are taken off, the next pipeline gets its own."""
    pipe, peer = ends
    given_up, waiting = pipe.send([PING], 5), pipe.send([PING], 5)
    given_up.cancel()
    await peer.answer(b"+1\r\n+2\r\n")
    assert (await waiting).replies == [b"2"]


async def test_silence_ends_the_connection(ends: tuple[Pipe, Peer], monkeypatch: pytest.MonkeyPatch) -> None:
    """All pipelines in the air fail: a late reply could not be told from another's."""
    monkeypatch.setattr(pipe_module, "STILL_SECONDS", 0.1)
    pipe, _ = ends
    flights = [pipe.send([PING], 0.1), pipe.send([PING], 30)]
    for flight in flights:
        with pytest.raises(StoreUnreachable, match="no answer in time"):
            await flight
    with pytest.raises(StoreUnreachable):
        pipe.send([PING], 1)


async def test_a_long_pipeline_is_not_a_lost_one(
    ends: tuple[Pipe, Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While replies keep coming it may take longer than its time."""
    monkeypatch.setattr(pipe_module, "STILL_SECONDS", PATIENCE)
    pipe, peer = ends
    flight = pipe.send([PING] * 8, 0.1)
    for _ in range(8):
        await peer.answer(b"+OK\r\n")
        await asyncio.sleep(0.1)
    assert (await flight).replies == [b"OK"] * 8


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"*-7\r\n"])
async def test_something_else_than_redis_ends_the_connection(ends: tuple[Pipe, Peer], garbage: bytes) -> None:
    """A wrong port is told, not waited for."""
    pipe, peer = ends
    flight = pipe.send([PING], 5)
    await peer.answer(garbage)
    with pytest.raises(StoreUnreachable, match="does not speak RESP"):
        await flight


async def test_a_closed_connection_fails_what_is_in_the_air(ends: tuple[Pipe, Peer]) -> None:
    """And tells whoever keeps the pipe."""
    pipe, peer = ends
    told: list[Pipe] = []
    pipe.on_end = told.append
    flight = pipe.send([PING, PING], 5)
    await peer.answer(b"+OK\r\n")
    peer.transport.close()
    with pytest.raises(StoreUnreachable, match="closed by the server"):
        await flight
    assert told == [pipe]
