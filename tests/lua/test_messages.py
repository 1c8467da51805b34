"""broadcast_messages does for many messages what broadcast_message does for each."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from tests.lua.shard import ALICE, BOB, CAROL, DAVE, IN, OUT, ROOM, SHARD, Shard, decoded, heard

EVE = "eve@example.org"


@pytest.fixture
def room(shard: Shard) -> Shard:
    """Alice owns the room, Bob and Carol are members, Dave is invited."""
    shard.ask("create", ALICE)
    for user in (BOB, CAROL):
        shard.ask("add", ALICE, user=user)
    shard.ask("invite", ALICE, user=DAVE)
    return shard


def broadcast(shard: Shard, ids: list[str], most: int = 1000) -> Any:
    """How many of these requests were handled."""
    where = [IN, OUT, *[shard.keys.members(SHARD, ROOM)] * len(ids)]
    return shard.run("broadcast_messages", where, [shard.settings.get("delivery_chunk", 64), most, *ids])


def left(shard: Shard) -> list[str]:
    """The ids of the requests that are there still."""
    return [entry_id for entry_id, _ in decoded(shard.redis.xrange(IN))]


def test_each_message_goes_to_the_others_in_order(room: Shard) -> None:
    """The same events as one by one."""
    speakers = [ALICE, BOB, ALICE]
    one_by_one = [event for who in speakers for event in room.ask("message", who)]
    assert broadcast(room, [room.put("message", who) for who in speakers]) == 3
    assert room.drain() == one_by_one
    assert left(room) == []


def test_all_are_handled_or_none(room: Shard) -> None:
    """Where a later message's room is of a wrong type, the earlier ones wait for broadcast_message, too."""
    where = [IN, OUT, room.keys.members(SHARD, ROOM), room.keys.members(SHARD, "broken")]
    room.redis.set(where[3], "no members")
    ids = [room.put("message", ALICE), room.put("message", ALICE, room="broken")]
    before = room.dump()
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        room.run("broadcast_messages", where, [64, 1000, *ids])
    assert room.dump() == before


def test_what_was_deleted_in_between_is_not_counted(real_shard: Shard) -> None:
    """Of a stream with gaps, over several of its nodes, just those go that were handled."""
    real_shard.ask("create", ALICE)
    real_shard.ask("add", ALICE, user=BOB)
    ids = [real_shard.put("message", ALICE) for _ in range(250)]
    real_shard.redis.xdel(IN, *ids[::3])
    there = [entry_id for at, entry_id in enumerate(ids) if at % 3]
    assert broadcast(real_shard, there[:120]) == 120
    assert left(real_shard) == there[120:]
    assert len(real_shard.drain()) == 120


def test_large_rooms_are_cut_into_chunks(room: Shard) -> None:
    """As ever."""
    room.settings["delivery_chunk"] = 1
    assert broadcast(room, [room.put("message", ALICE)]) == 1
    assert sorted(room.drain()) == [heard("message", who, by=ALICE) for who in (BOB, CAROL)]


@pytest.mark.parametrize(
    ("kind", "who", "fields"),
    [
        ("message", EVE, {}),
        ("message", DAVE, {}),
        ("message", ALICE, {"operator": "1"}),
        ("message", ROOM, {}),
        ("list", ALICE, {}),
        ("receipt", BOB, {"status": "404"}),
    ],
)
def test_what_takes_more_ends_it(room: Shard, kind: str, who: str, fields: dict[str, str]) -> None:
    """Strangers, the invited, operators, the room itself, commands: that one and what follows stay."""
    ids = [room.put("message", BOB), room.put(kind, who, **fields), room.put("message", BOB)]
    assert broadcast(room, ids) == 1
    assert room.drain() == [heard("message", ALICE, CAROL, by=BOB)]
    assert left(room) == ids[1:]


def test_it_ends_when_enough_were_told(room: Shard) -> None:
    """So that one script does not take Redis long."""
    ids = [room.put("message", ALICE) for _ in range(3)]
    assert broadcast(room, ids, most=4) == 2
    assert left(room) == ids[2:]


def test_out_of_turn_or_again_changes_nothing(room: Shard) -> None:
    """Only the head of the stream is handled, and once."""
    ids = [room.put("message", ALICE) for _ in range(3)]
    before = room.dump()
    assert broadcast(room, ids[1:]) == 0
    assert room.dump() == before
    assert broadcast(room, ids) == 3
    assert broadcast(room, ids) == 0
