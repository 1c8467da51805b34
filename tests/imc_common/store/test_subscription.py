"""Messages of a channel, over restarts of the server; on a cluster and behind Sentinel in the tests there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from redis import Redis
from structlog.testing import capture_logs

from imc_common.settings import Settings
from imc_common.store import Store, StoreUnreachable
from imc_common.store import subscription as module
from imc_common.store.connection import RedisConnection
from imc_common.store.connector import Hello
from imc_common.store.subscription import Subscription
from tests.imc_common.store.test_connection import Peer, ends
from tests.patience import PATIENCE
from tests.servers import Server

__all__ = ["ends"]
CHANNEL = "imc:test"


@asynccontextmanager
async def following(store: Store) -> AsyncIterator[list[bytes]]:
    """The messages that come while the block runs."""
    got: list[bytes] = []
    running = asyncio.create_task(store.subscription(CHANNEL, got.append).run())
    try:
        yield got
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def published(store: Store, got: list[bytes], text: str) -> None:
    """Publish until it arrives: a subscription takes a while to be there, and again after a restart."""
    await eventually_publishing(store, text, lambda: text.encode() in got)


async def eventually_publishing(store: Store, text: str, arrived: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not arrived():
            with suppress(StoreUnreachable):
                await store.run([("PUBLISH", CHANNEL, text)])
            await asyncio.sleep(0.05)


@pytest.mark.integration
async def test_messages_arrive_also_after_the_server_was_restarted(server: Server) -> None:
    """In the order in which they were published."""
    store = await Store.connect(Settings(db_url=server.url))
    try:
        async with following(store) as got:
            await published(store, got, "one")
            await store.run([("PUBLISH", CHANNEL, f"n{number}") for number in range(5)])
            await eventually_publishing(store, "last", lambda: b"last" in got)
            assert [each for each in got if each.startswith(b"n")] == [b"n0", b"n1", b"n2", b"n3", b"n4"]
            server.kill()
            server.start()
            await published(store, got, "two")
    finally:
        await store.close()


@pytest.mark.integration
async def test_a_user_without_the_right_is_told_once_and_nothing_else_suffers(server: Server) -> None:
    """As with rules of Redis users from before there was a channel."""
    with Redis(unix_socket_path=server.socket) as db:
        db.execute_command(
            "ACL", "SETUSER", "imc", "on", ">pw", "~*", "resetchannels", "+@all", "-@dangerous", "+info"
        )
    url = server.url.replace("unix://", "unix://imc:pw@", 1)
    store = await Store.connect(Settings(db_url=url))
    try:
        with capture_logs() as lines:
            async with following(store) as got:
                async with asyncio.timeout(PATIENCE):
                    while not lines:
                        await asyncio.sleep(0.02)
                assert await store.run([("PING",)]) == [b"PONG"]
                assert got == []
        assert [(line["event"], line["channel"]) for line in lines] == [("subscription refused", CHANNEL)]
    finally:
        await store.close()


async def test_a_connection_on_which_nothing_comes_any_more_is_ended(
    ends: tuple[RedisConnection, Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer that vanished sends no end of the connection."""
    connection, peer = ends
    monkeypatch.setattr(module, "CHECK_SECONDS", 0.02)
    again = asyncio.Event()

    async def connect() -> tuple[RedisConnection, Hello]:
        if connection.ended:
            again.set()
            raise StoreUnreachable("gone")
        return connection, Hello("redis", (7,), "master", "standalone")

    got: list[bytes] = []
    running = asyncio.create_task(Subscription(connect, CHANNEL, got.append).run())
    await asyncio.sleep(0.01)
    await peer.reply(b"*3\r\n$9\r\nsubscribe\r\n$8\r\nimc:test\r\n:1\r\n")
    await peer.reply(b"*3\r\n$7\r\nmessage\r\n$8\r\nimc:test\r\n$2\r\nhi\r\n")
    assert got == [b"hi"]
    await asyncio.wait_for(again.wait(), PATIENCE)
    assert connection.ended == "no reply in time"
    assert b"PING" in peer.received
    running.cancel()
