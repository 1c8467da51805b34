"""``imc reshard`` on a real Redis: nothing is lost, wherever it is interrupted.

Covers reshard.py, resharding.py, moved_history.py and moved_devices.py.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from imc_cli.migration.load import load
from imc_cli.migration.rows import Room
from imc_cli.resharding import SINCE, ReshardError, Resharding, Totals
from imc_common import keys
from imc_common.keys import Keys, shard_of
from imc_common.rooms.request import RETRANSMISSION_SECONDS
from imc_common.settings import Settings
from imc_common.store import Store, StoreRefused, StoreUnreachable
from imc_edge.delivering.transaction_states import T1
from imc_edge.receiving.accept_pipeline import Accept, AcceptPipeline
from tests.servers import Server

pytestmark = pytest.mark.integration

PATIENCE = 60.0


def rooms_named(name: str, count: int) -> list[Room]:
    return [
        Room(
            f"{name}{number}@example.org",
            private=number % 3 == 0,
            members={
                f"u{number}@example.org": "owner",
                "bob@example.org": "member",
                "eve@example.org": "invited",
            },
        )
        for number in range(count)
    ]


ROOMS = rooms_named("room", 60)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A real Redis."""
    running = Server("redis-server", tmp_path)
    running.start()
    yield running
    running.kill()


@pytest.fixture
async def store(server: Server) -> AsyncIterator[Store]:
    """A store with sixty rooms in 16 shards, whose hashes have fields of a later version."""
    settings = Settings(db_url=server.url)
    store = await Store.connect(settings)
    await load(store, settings, ROOMS, 1700000000000)
    await store.run(
        [
            (
                "HSET",
                Keys().room(shard_of(room.address, 4), room.address),
                "motto",
                "x",
                "mood:eve@example.org",
                "y",
            )
            for room in ROOMS
        ]
    )
    yield store
    await store.close()


async def no_sleep(_seconds: float) -> None:
    """Skip the wait for retransmissions."""


def resharding(store: Any, target: int) -> Resharding:
    return Resharding(store, Settings(), target, sleep=no_sleep)


async def everything(store: Store, hash_size: int, rooms: Sequence[Room] = ROOMS) -> dict[str, Any]:
    """Rooms with members and index sets, in the shards for ``hash_size``."""
    table = Keys()
    found = {}
    for room in rooms:
        shard = shard_of(room.address, hash_size)
        owner, bob = room.owner, "bob@example.org"
        found[room.address] = await store.run(
            [
                ("HGETALL", table.room(shard, room.address)),
                ("HGETALL", table.members(shard, room.address)),
                ("ZSCORE", table.rooms(shard), room.address),
                ("SISMEMBER", keys.owned_rooms(shard, owner), room.address),
                ("SISMEMBER", keys.private_rooms(shard, bob), room.address),
                ("SISMEMBER", keys.private_rooms(shard, "eve@example.org"), room.address),
            ]
        )
    return found


@pytest.mark.parametrize("target", [0, 2, 6])
async def test_every_room_moves_to_its_new_shard(store: Store, target: int) -> None:
    """With its members, its privacy and its index sets. Nothing stays in the old shards."""
    before = await everything(store, 4)
    assert await resharding(store, target).run() == Totals(60, 180)
    assert await everything(store, target) == before
    found, _ = await store.run([("KEYS", "imc_members:*"), ("HGETALL", keys.CONFIG)])
    assert len(found) == 60


async def test_a_retransmission_after_a_reshard_is_not_a_new_request(store: Store, server: Server) -> None:
    """The new shard does not know it. So edges, with either size, start only when none can come any more."""
    room = next(room.address for room in ROOMS if shard_of(room.address, 4) != shard_of(room.address, 6))
    old, new = shard_of(room, 4), shard_of(room, 6)
    accept = Accept(old, "digest", ["type", "list"])
    assert await AcceptPipeline(store, Settings()).run([accept]) == [b"accepted"]
    [[accepted_at, _], _] = await store.run([("TIME",), ("XTRIM", keys.requests(old), "MAXLEN", 0)])
    edges_may_start_at: list[float] = []

    async def sleep(seconds: float) -> None:
        [[now, _], is_closed] = await store.run([("TIME",), ("HEXISTS", keys.CONFIG, keys.RESHARD_TO)])
        assert is_closed
        # An edge that gets the retransmission at the end of the wait, or before, cannot accept it.
        for hash_size in (4, 6):
            with pytest.raises(StoreRefused, match="imc reshard --hash-size 6"):
                await Store.connect(Settings(db_url=server.url, hash_size=hash_size))
        edges_may_start_at.append(int(now) + seconds)

    await Resharding(store, Settings(), 6, sleep=sleep).run()
    assert edges_may_start_at[0] >= int(accepted_at) + RETRANSMISSION_SECONDS
    [is_known] = await store.run([store.script("find_duplicate", keys.accepting(new)[:2], ("digest",))])
    assert is_known == b"unknown"

    # RFC 3261 §17.1.2.2: a client retransmits for 64*T1. After that the request can only be a new one, whose
    # own retransmissions are duplicates.
    assert RETRANSMISSION_SECONDS >= 64 * T1
    in_new_shard = Accept(new, "digest", ["type", "list"])
    pipeline = AcceptPipeline(store, Settings(hash_size=6))
    assert await pipeline.run([in_new_shard, in_new_shard]) == [b"accepted", b"duplicate"]
    assert await pipeline.run([in_new_shard]) == [b"duplicate"]


@pytest.mark.parametrize("commands", [2, 90, *range(110, 330, 11)])
async def test_an_interrupted_reshard_can_be_repeated(store: Store, commands: int) -> None:
    """Wherever it was interrupted, the second run has the same result as a single one."""
    before = await everything(store, 4)
    with pytest.raises(StoreUnreachable):
        await resharding(Killed(store, commands), 6).run()
    await resharding(store, 6).run()
    assert await everything(store, 6) == before


class Killed:
    """A store that fails after so many pipelines; half of the last one is executed."""

    def __init__(self, store: Store, pipelines: int) -> None:
        self._store = store
        self._left = pipelines

    async def run(self, commands: list[Any]) -> list[Any]:
        self._left -= 1
        if self._left:
            return await self._store.run(commands)
        await self._store.run(commands[: len(commands) // 2])
        raise StoreUnreachable("killed")


async def test_a_killed_imc_reshard_can_be_repeated(store: Store, server: Server) -> None:
    """A real ``imc reshard`` of two thousand rooms, killed twice: the third run finishes."""
    rooms = rooms_named("many", 2000)
    await load(store, Settings(db_url=server.url), rooms, 1700000000000)
    before = await everything(store, 4, rooms)
    for moved in (1, 700):
        process = command(server)
        try:
            until = time.monotonic() + PATIENCE
            while await in_new_shards(store) < moved:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < until
        finally:
            process.kill()
            process.communicate()
        assert moved <= await in_new_shards(store) < await in_new_shards(store, start=0)
        (config,) = await store.run([("HMGET", keys.CONFIG, "hash_size", keys.RESHARD_TO)])
        assert config == [b"4", b"6"]
    await store.run([("HSET", keys.CONFIG, SINCE, 0)])  # the wait for retransmissions is over
    process = command(server)
    said, error = await asyncio.to_thread(process.communicate, timeout=PATIENCE)
    assert process.returncode == 0, error
    assert b"2060 rooms with 6180 members are in 64 shards now" in said
    assert await everything(store, 6, rooms) == before
    assert await in_new_shards(store, start=0) == 2060


def command(server: Server) -> subprocess.Popen[bytes]:
    """``imc reshard`` from 16 to 64 shards in its own process."""
    words = ["reshard", "--hash-size", "6", "--db-url", server.url]
    return subprocess.Popen(
        [sys.executable, "-m", "imc_cli", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


async def in_new_shards(store: Store, start: int = 16) -> int:
    """Rooms in the shards from ``start`` on. A room in two shards counts twice."""
    return sum(await store.run([("ZCARD", Keys().rooms(shard)) for shard in range(start, 64)]))


async def test_no_process_starts_during_an_unfinished_reshard(store: Store, server: Server) -> None:
    """The error says what to do. Another target is refused as well."""
    with pytest.raises(StoreUnreachable):
        await resharding(Killed(store, 150), 6).run()
    with pytest.raises(StoreRefused, match="imc reshard --hash-size 6"):
        await Store.connect(Settings(db_url=server.url))
    with pytest.raises(ReshardError, match="to hash_size 6 was not finished"):
        await resharding(store, 5).run()


async def test_a_reshard_is_refused_while_processes_run(store: Store) -> None:
    """Their heartbeats are recent by Redis's clock."""
    await store.run([store.script("record_heartbeat", [keys.EDGES], ["edge-1", 3000])])
    with pytest.raises(ReshardError, match="edge-1 is in imc:edges"):
        await resharding(store, 6).run()


@pytest.mark.parametrize("stream", [keys.requests, keys.events, keys.dead])
async def test_a_reshard_is_refused_while_streams_have_entries(store: Store, stream: Any) -> None:
    """They would stay in the wrong shard."""
    await store.run([("XADD", stream(7), "*", "type", "message")])
    with pytest.raises(ReshardError, match=r"\{7\}.* holds 1 entries"):
        await resharding(store, 6).run()


async def test_a_reshard_to_the_same_size_is_refused(store: Store) -> None:
    """There is nothing to do."""
    with pytest.raises(ReshardError, match="hash_size is already 4"):
        await resharding(store, 4).run()


async def test_a_reshard_of_an_empty_redis_is_refused(server: Server) -> None:
    """It is probably the wrong Redis."""
    store = await Store.connect(Settings(db_url=server.url), check=False)
    with pytest.raises(ReshardError, match="no imc process has ever used"):
        await resharding(store, 4).run()
    await store.close()


async def test_records_of_failed_deliveries_move_with_their_rooms(store: Store) -> None:
    """Operators look for them in the shard of the room."""
    room = ROOMS[0].address
    await store.run([("XADD", keys.undelivered(shard_of(room, 4)), "*", "room", room, "status", "404")])
    await resharding(store, 6).run()
    [records] = await store.run([("XRANGE", keys.undelivered(shard_of(room, 6)), "-", "+")])
    assert [fields for _, fields in records] == [[b"room", room.encode(), b"status", b"404"]]


async def test_a_lost_room_stops_the_reshard(store: Store) -> None:
    """The hash_size stays unchanged then."""
    lost = ROOMS[0].address
    with pytest.raises(StoreUnreachable):
        await resharding(Killed(store, 150), 6).run()
    for shard in range(64):
        await store.run([("ZREM", Keys().rooms(shard), lost)])
    with pytest.raises(ReshardError, match="hash_size stays unchanged"):
        await resharding(store, 6).run()


@pytest.mark.parametrize("target", [2, 6])
async def test_histories_move_with_their_rooms(store: Store, target: int) -> None:
    """With ids, positions, wishes and who is away, so that returning users find what they missed."""
    names, room = (
        Keys(),
        next(r.address for r in ROOMS if shard_of(r.address, 4) != shard_of(r.address, target)),
    )
    old, new, bob = shard_of(room, 4), shard_of(room, target), "bob@example.org"
    ids = [f"170000000{number:04}-0" for number in range(450)]
    await store.run([("XADD", names.history(old, room), entry, "alice", "hello") for entry in ids])
    last = "9999999999999-5"
    await store.run(
        [
            ("HSET", names.members(old, room), bob, "member away"),
            ("HSET", names.room(old, room), f"away:{bob}", ids[3]),
            ("SADD", keys.away_rooms(old, bob), room),
            ("ZADD", keys.probes(old), 5, bob),
            ("SADD", keys.history_off(old), room),
            ("ZADD", keys.expiring(old, room), 17, ids[5]),
            ("XADD", keys.events(old), last, "event", "x"),
            ("XDEL", keys.events(old), last),
        ]
    )
    await resharding(store, target).run()
    entries, position, is_away, is_off, due, hints, ends, left, added = await store.run(
        [
            ("XRANGE", names.history(new, room), "-", "+"),
            ("HGET", names.room(new, room), f"away:{bob}"),
            ("SISMEMBER", keys.away_rooms(new, bob), room),
            ("SISMEMBER", keys.history_off(new), room),
            ("ZSCORE", keys.probes(new), bob),
            ("SISMEMBER", keys.away_shards(bob), new),
            ("ZSCORE", keys.expiring(new, room), ids[5]),
            (
                "EXISTS",
                names.history(old, room),
                keys.away_rooms(old, bob),
                keys.history_off(old),
                keys.expiring(old, room),
            ),
            ("XADD", keys.events(new), "*", "event", "x"),
        ]
    )
    assert [entry.decode() for entry, _ in entries] == ids
    assert (position.decode(), is_away, is_off, float(due), hints, left) == (ids[3], 1, 1, 1.0, 1, 0)
    assert float(ends) == 17
    assert added.decode() == "9999999999999-6"


@pytest.mark.parametrize("target", [2, 6])
@pytest.mark.parametrize("value", ["device away", "device"])
async def test_devices_move_with_their_rooms(store: Store, target: int, value: str) -> None:
    """With the roster that they have seen, and the rooms where they are away, or have missed a request."""
    device = "bob@example.org;gr=urn:uuid:1"
    absent = "bob@example.org;gr=urn:uuid:2"
    changes: list[str | int] = [part for number in range(250) for part in (number, f"u{number}@example.org")]
    for room in ROOMS:
        shard = shard_of(room.address, 4)
        await store.run(
            [
                (
                    "HSET",
                    keys.devices(shard, room.address),
                    device,
                    value,
                    f"{room.owner};gr=x",
                    "device",
                ),
                ("ZADD", keys.roster(shard, room.address), *changes),
                ("HSET", Keys().room(shard, room.address), f"subscription:{device}", '{"missed":true}'),
                ("HSET", Keys().room(shard, room.address), f"missed_invite:{absent}", "1"),
                *[
                    ("SADD", keys.away_rooms(shard, "bob@example.org"), f"{room.address} {each}")
                    for each in (device, absent)
                ],
            ]
        )
    await resharding(store, target).run()
    away: set[bytes] = set()
    for room in ROOMS:
        shard = shard_of(room.address, target)
        found = await store.run(
            [
                ("HGET", keys.devices(shard, room.address), device),
                ("HLEN", keys.devices(shard, room.address)),
                ("ZCARD", keys.roster(shard, room.address)),
                ("ZSCORE", keys.probes(shard), "bob@example.org"),
            ]
        )
        has_moved = shard_of(room.address, 4) != shard
        assert found[:3] == [value.encode(), 2, 250]
        assert found[3] == b"1" or not has_moved
        away |= {f"{room.address} {each}".encode() for each in (device, absent)}
    where = [("SMEMBERS", keys.away_rooms(shard, "bob@example.org")) for shard in range(1 << target)]
    assert set().union(*await store.run(where)) == away  # type: ignore[arg-type]
    left = await store.run(
        [("KEYS", "imc_devices:*"), ("KEYS", "imc_roster:*"), ("KEYS", "imc:*:away_rooms:*")]
    )
    assert [len(names) for names in left[:2]] == [60, 60]
    assert len(left[2]) <= 1 << target
