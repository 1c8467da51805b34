"""broadcast_messages does for many messages what broadcast_message does for each."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from imc_common import keys
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
    settings = [shard.settings[name] for name in ("delivery_chunk", "max_caused", "window_ms", "small")]
    senders = {entry_id: fields["from"] for entry_id, fields in decoded(shard.redis.xrange(IN))}
    where = [IN, OUT]
    for entry_id in ids:
        where += (shard.keys.members(SHARD, ROOM), keys.caused(SHARD, senders.get(entry_id, "gone")))
    return shard.run("broadcast_messages", where, [*settings, most, *ids])


def left(shard: Shard) -> list[str]:
    """The ids of the requests that are there still."""
    return [entry_id for entry_id, _ in decoded(shard.redis.xrange(IN))]


def test_each_message_goes_to_the_others_in_order(room: Shard) -> None:
    """The same events, and the same counts of deliveries, as one by one."""
    speakers = [ALICE, BOB, ALICE]
    one_by_one = [event for who in speakers for event in room.ask("message", who)]
    counted = {who: room.redis.get(keys.caused(SHARD, who)) for who in speakers}
    for who in speakers:
        room.redis.delete(keys.caused(SHARD, who))
    assert broadcast(room, [room.put("message", who) for who in speakers]) == 3
    assert room.drain() == one_by_one
    assert {who: room.redis.get(keys.caused(SHARD, who)) for who in speakers} == counted
    assert 0 < room.redis.pttl(keys.caused(SHARD, ALICE)) <= 10_000
    assert left(room) == []


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


def test_a_sender_over_the_limit_ends_it(room: Shard) -> None:
    """The refusal is broadcast_message's business; so is silence after it."""
    room.settings["max_caused"] = 3
    ids = [room.put("message", ALICE) for _ in range(3)]
    assert broadcast(room, ids) == 2
    room.redis.set(keys.caused(SHARD, ALICE), -1)
    assert broadcast(room, ids[2:]) == 0
    assert left(room) == ids[2:]


def test_a_count_that_is_none_loses_no_message(room: Shard) -> None:
    """It is found before the message is taken out of the stream, here and in broadcast_message."""
    room.redis.set(keys.caused(SHARD, ALICE), "1.5")
    entry_id = room.put("message", ALICE)
    where = room.keys_for("broadcast_message", ALICE), room.args_for("broadcast_message", entry_id)
    before = room.dump()
    with pytest.raises(redis.ResponseError, match="whole numbers"):
        broadcast(room, [entry_id])
    with pytest.raises(redis.ResponseError, match="whole numbers"):
        room.run("broadcast_message", *where)
    assert room.dump() == before


def test_small_rooms_are_not_counted(room: Shard) -> None:
    """As many others as the limit of messages bounds already."""
    room.settings["small"] = 2
    assert broadcast(room, [room.put("message", ALICE)]) == 1
    assert not room.redis.exists(keys.caused(SHARD, ALICE))


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
