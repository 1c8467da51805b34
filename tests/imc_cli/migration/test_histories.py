"""What rooms keep goes out of one Redis and into another one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from imc_cli.migration.histories import PAGE, dump_histories, load_histories
from imc_cli.migration.load import load
from imc_cli.migration.rows import Room
from imc_common import keys
from imc_common.errors import ImcError
from imc_common.keys import Keys, shard_of
from imc_common.settings import Settings
from tests.fake_store import FakeStore

ROOM, QUIET = "r@example.org", "quiet@example.org"
ALICE, BOB, CAROL = (f"{name}@example.org" for name in ("alice", "bob", "carol"))
SHARD, NAMES = shard_of(ROOM, 4), Keys()
MEMBERS = {ALICE: "owner", BOB: "member", CAROL: "invited"}
ROOMS = [Room(ROOM, private=False, members=MEMBERS), Room(QUIET, private=True, members={ALICE: "owner"})]
IDS = [f"{1_700_000_000_000 + number}-1" for number in range(PAGE + 3)]
DEVICE = f"{BOB};gr=urn:uuid:1"


async def a_store(rooms: list[Room]) -> Any:
    store = FakeStore()
    await load(store, Settings(), rooms, 1)  # type: ignore[arg-type]
    return store


@pytest.fixture
async def lines() -> AsyncIterator[list[str]]:
    """A room keeps messages of Alice. Bob has been away since the second, and so has a device of his."""
    store = await a_store(ROOMS)
    history, about = NAMES.history(SHARD, ROOM), NAMES.room(SHARD, ROOM)
    await store.run([("XADD", history, entry, ALICE, b"\x81\xff", "nick", "Älice") for entry in IDS])
    state = ("away", BOB, IDS[1]), ("joined", BOB, "5-1"), ("more", BOB, "6-1 7-1"), ("away", DEVICE, IDS[0])
    await store.run(
        [
            *(("HSET", about, f"{kind}:{who}", text) for kind, who, text in state),
            ("HSET", about, "history_from", "all", "motto", b"\xff", f"echo:{BOB}", "secret"),
            ("HSET", NAMES.members(SHARD, ROOM), BOB, "member cpim away"),
            ("ZADD", keys.expiring(SHARD, ROOM), 1_800_000_000_000, IDS[2]),
            ("HSET", NAMES.room(shard_of(QUIET, 4), QUIET), "history", "off"),
        ]
    )
    found: list[str] = []
    rooms = [ROOM, QUIET]
    assert await dump_histories(store, Settings(), rooms, lambda line: found.append(json.dumps(line))) == len(
        IDS
    )
    yield found
    await store.close()


async def content(store: Any) -> list[Any]:
    """What Redis holds of both rooms."""
    replies: list[Any] = await store.run(
        [
            ("XRANGE", NAMES.history(SHARD, ROOM), "-", "+"),
            ("HGETALL", NAMES.room(SHARD, ROOM)),
            ("HGETALL", NAMES.members(SHARD, ROOM)),
            ("ZRANGE", keys.expiring(SHARD, ROOM), 0, -1, "WITHSCORES"),
            ("SMEMBERS", keys.away_rooms(SHARD, BOB)),
            ("ZRANGE", keys.probes(SHARD), 0, -1),
            ("SMEMBERS", keys.history_off(shard_of(QUIET, 4))),
        ]
    )
    return replies


async def test_histories_and_positions_come_back(lines: list[str]) -> None:
    """With the ids, from which Call-IDs follow. Devices and other state are no part of it."""
    store = await a_store(ROOMS)
    restored = await load_histories(store, Settings(), lines)
    assert (restored.rooms, restored.messages, restored.not_added, restored.unknown) == (2, len(IDS), 0, [])
    entries, flat, members, ends, away, probed, off = await content(store)
    assert [entry.decode() for entry, _ in entries] == IDS
    assert entries[0][1] == [ALICE.encode(), b"\x81\xff", b"nick", "Älice".encode()]
    about = dict(zip(flat[::2], flat[1::2], strict=True))
    expected = {
        f"away:{BOB}": IDS[1],
        f"joined:{BOB}": "5-1",
        f"more:{BOB}": "6-1 7-1",
        "history_from": "all",
    }
    assert {name: about[name.encode()].decode() for name in expected} == expected
    assert not any(name.startswith((b"echo:", b"motto", f"away:{DEVICE}".encode())) for name in about)
    assert dict(zip(members[::2], members[1::2], strict=True))[BOB.encode()] == b"member away"
    assert [ends[0].decode(), float(ends[1])] == [IDS[2], 1_800_000_000_000]
    assert ([*away], probed, [*off]) == ([ROOM.encode()], [BOB.encode()], [QUIET.encode()])
    (behind,) = await store.run([("XADD", keys.events(SHARD), "*", "event", "x")])
    assert behind.decode() > IDS[-1]
    before = await content(store)
    again = await load_histories(store, Settings(), lines)
    assert (again.messages, again.not_added) == (0, len(IDS))
    assert await content(store) == before
    await store.close()


async def test_what_a_room_has_stays(lines: list[str]) -> None:
    """Later messages, and who is back since."""
    store = await a_store(ROOMS)
    await store.run(
        [
            ("XADD", NAMES.history(SHARD, ROOM), "1900000000000-0", BOB, "later"),
            ("HSET", NAMES.room(SHARD, ROOM), f"joined:{BOB}", "9-9", f"away:{BOB}", "1900000000000-0"),
        ]
    )
    restored = await load_histories(store, Settings(), lines)
    assert (restored.messages, restored.not_added) == (0, len(IDS))
    entries, flat, members, *_ = await content(store)
    assert [entry for entry, _ in entries] == [b"1900000000000-0"]
    about = dict(zip(flat[::2], flat[1::2], strict=True))
    assert about[f"joined:{BOB}".encode()] == b"9-9"
    assert dict(zip(members[::2], members[1::2], strict=True))[BOB.encode()] == b"member"
    await store.close()


async def test_a_room_that_does_not_exist_gets_no_history(lines: list[str]) -> None:
    store = await a_store(ROOMS[1:])
    restored = await load_histories(store, Settings(), lines)
    assert (restored.rooms, restored.messages, restored.unknown) == (1, 0, [ROOM])
    assert await store.run([("EXISTS", NAMES.room(SHARD, ROOM), NAMES.history(SHARD, ROOM))]) == [0]
    await store.close()


@pytest.mark.parametrize(
    "line",
    [
        "nonsense", "[]", "{}", '{"id": "1-1"}', '{"room": "r@example.org"}',
        '{"id": "*", "from": "a@h", "data": ""}', '{"id": "1-1", "from": "a@h", "data": "?"}',
    ],
)  # fmt: skip
async def test_a_line_that_cannot_be_read_is_named(lines: list[str], line: str) -> None:
    store = await a_store(ROOMS)
    with pytest.raises(ImcError, match=r"^line 2 of the history cannot be read"):
        await load_histories(store, Settings(), [lines[0], line, *[lines[1]] * PAGE])
    await store.close()
