"""What follows from a user's return, on a real Redis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from imc_common import keys
from imc_common.presence import Presence, announcement, note_away, shards_in, user_is_online, wake_up
from imc_common.rooms.request import RoomRequest
from imc_common.settings import Settings
from imc_common.store import ReplyError, Store
from tests.servers import Server, running

USER = "carol@example.org"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A Redis that keeps its data."""
    with running("redis-server", tmp_path, "--appendonly", "yes") as started:
        yield started


def test_an_announcement_says_who_came_and_who_left() -> None:
    """As one message of the channel."""
    for online in (True, False):
        command, channel, payload = announcement(USER, online=online)
        assert (command, channel) == ("PUBLISH", keys.PRESENCE)
        assert Presence.parse(str(payload).encode()) == Presence(USER, online)


@pytest.mark.parametrize("payload", [b"", b"online", b"online ", b"busy carol@example.org", b"\xff"])
def test_other_announcements_mean_nothing(payload: bytes) -> None:
    """Another version may send them."""
    assert Presence.parse(payload) is None


def test_only_shards_that_exist_are_woken() -> None:
    """The list may be older than a change of `hash_size`; an error is no list."""
    assert shards_in([b"3", b"17", b"x", b"0"], 16) == [0, 3]
    assert shards_in(ReplyError("WRONGTYPE"), 16) == []


@pytest.mark.integration
async def test_a_return_asks_each_shard_on_the_list_once(server: Server) -> None:
    """The second time there is nothing to ask for."""
    settings = Settings(db_url=server.url)
    store = await Store.connect(settings)
    try:
        with Redis(unix_socket_path=server.socket) as db:
            await store.run([note_away(USER, [3, 5])])
            assert await user_is_online(store, USER, 16) == 2
            for shard in (3, 5):
                ((_, fields),) = db.xrange(keys.requests(shard))
                request = RoomRequest.from_fields(fields)
                assert (request.type, request.sender) == ("user_online", USER)
            assert await user_is_online(store, USER, 16) == 0
    finally:
        await store.close()


@pytest.mark.integration
async def test_a_shard_that_cannot_be_asked_stays_on_the_list(server: Server) -> None:
    """The user's next sign finds it again."""
    store = await Store.connect(Settings(db_url=server.url))
    try:
        with Redis(unix_socket_path=server.socket) as db:
            db.set(keys.requests(3), "not a stream")
            await store.run([note_away(USER, [3])])
            with pytest.raises(ReplyError):
                await user_is_online(store, USER, 16)
            assert db.smembers(keys.away_shards(USER)) == {b"3"}
    finally:
        await store.close()


def test_the_list_is_kept_at_the_user_and_the_requests_in_the_shards() -> None:
    """In a cluster no command spans slots."""
    *requests, removal = wake_up(USER, [1, 2])
    assert [command[1] for command in requests] == [keys.requests(1), keys.requests(2)]
    assert removal == ("SREM", keys.away_shards(USER), 1, 2)


@pytest.mark.integration
async def test_a_shard_stays_on_the_list_of_a_redis_whose_memory_is_full(server: Server) -> None:
    """It refuses the request, and would refuse to write the shard again."""
    store = await Store.connect(Settings(db_url=server.url))
    try:
        with Redis(unix_socket_path=server.socket) as db:
            await store.run([note_away(USER, [3])])
            db.config_set("maxmemory", 1)
            with pytest.raises(ReplyError):
                await user_is_online(store, USER, 16)
            db.config_set("maxmemory", 0)
            assert await user_is_online(store, USER, 16) == 1
    finally:
        await store.close()
