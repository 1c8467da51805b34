"""broadcast_messages does for many messages what broadcast_message does for each."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from tests.lua.shard import ALICE, BOB, CAROL, DAVE, IN, ROOM, SHARD, Shard, decoded, heard

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
    return shard.together(ids, max_recipients=most)


def left(shard: Shard) -> list[str]:
    """The ids of the requests that are there still."""
    return [entry_id for entry_id, _ in decoded(shard.redis.xrange(IN))]


def test_each_message_goes_to_the_others_in_order(room: Shard) -> None:
    """The events are the same as one by one."""
    speakers = [ALICE, BOB, ALICE]
    one_by_one = [event for who in speakers for event in room.ask("message", who)]
    assert broadcast(room, [room.put("message", who) for who in speakers]) == 3
    assert room.drain() == one_by_one
    assert left(room) == []


def test_messages_are_handled_together_or_not_at_all(room: Shard) -> None:
    """If the room of a later message has a wrong type, the earlier ones wait for broadcast_message."""
    room.redis.set(room.keys.members(SHARD, "broken"), "no members")
    ids = [room.put("message", ALICE), room.put("message", ALICE, room="broken")]
    before = room.dump()
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        room.together(ids)
    assert room.dump() == before


def test_deleted_entries_between_messages_do_not_count(real_shard: Shard) -> None:
    """Exactly the handled entries of a stream with gaps are deleted."""
    real_shard.ask("create", ALICE)
    real_shard.ask("add", ALICE, user=BOB)
    ids = [real_shard.put("message", ALICE) for _ in range(250)]
    real_shard.redis.xdel(IN, *ids[::3])
    there = [entry_id for at, entry_id in enumerate(ids) if at % 3]
    assert broadcast(real_shard, there[:120]) == 120
    assert left(real_shard) == there[120:]
    assert len(real_shard.drain()) == 120


def test_recipients_are_cut_into_chunks(room: Shard) -> None:
    """As by broadcast_message."""
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
        ("delivery_report", BOB, {"status": "404"}),
    ],
)
def test_an_entry_that_is_more_than_a_message_ends_the_batch(
    room: Shard, kind: str, who: str, fields: dict[str, str]
) -> None:
    """Strangers, invited users, operators, the room itself, commands: that entry and all behind it stay."""
    ids = [room.put("message", BOB), room.put(kind, who, **fields), room.put("message", BOB)]
    assert broadcast(room, ids) == 1
    assert room.drain() == [heard("message", ALICE, CAROL, by=BOB)]
    assert left(room) == ids[1:]


def test_the_number_of_recipients_of_a_batch_is_bounded(room: Shard) -> None:
    """So one script does not block Redis for long."""
    ids = [room.put("message", ALICE) for _ in range(3)]
    assert broadcast(room, ids, most=4) == 2
    assert left(room) == ids[2:]


def test_only_the_head_of_the_stream_is_handled_and_once(room: Shard) -> None:
    ids = [room.put("message", ALICE) for _ in range(3)]
    before = room.dump()
    assert broadcast(room, ids[1:]) == 0
    assert room.dump() == before
    assert broadcast(room, ids) == 3
    assert broadcast(room, ids) == 0
