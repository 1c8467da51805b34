"""What a room keeps of the messages to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from imc_common import keys
from imc_common.rooms.history import too_old
from tests.lua.shard import ALICE, BOB, CAROL, IN, OUT, ROOM, SHARD, Shard, decoded, heard

OFF = keys.history_off(SHARD)
EXPIRING = keys.expiring(SHARD, ROOM)
Say = Callable[..., str]


@pytest.fixture
def room(shard: Shard) -> Shard:
    """Alice owns a room that keeps messages; Bob and Carol are members."""
    shard.settings["history_max_messages"] = 500
    shard.ask("create", ALICE)
    for member in (BOB, CAROL):
        shard.ask("add", ALICE, user=member)
    return shard


@pytest.fixture(params=["broadcast_message", "broadcast_messages"])
def say(room: Shard, request: pytest.FixtureRequest) -> Say:
    """Sends a message to the room by either script; the id of its event, empty if there is none."""

    def send(sender: str, **fields: str) -> str:
        entry_id = room.put("message", sender, **fields)
        if request.param == "broadcast_messages":
            assert room.together([entry_id], names="nick" in request.node.name) == 1
        else:
            assert (
                room.run("broadcast_message", *room.command("broadcast_message", entry_id, sender)) == "done"
            )
        return str(decoded(room.redis.xrevrange(OUT, count=1))[0][0]) if room.redis.xlen(OUT) else ""

    return send


def kept(shard: Shard) -> list[tuple[str, dict[str, str]]]:
    """The entries of the room's history."""
    found: list[tuple[str, dict[str, str]]] = decoded(shard.redis.xrange(shard.keys.history(SHARD, ROOM)))
    return found


def test_a_message_is_kept_under_the_id_of_its_event(room: Shard, say: Say) -> None:
    """Sender and data, as they were sent."""
    first, second = say(ALICE), say(BOB)
    assert kept(room) == [(first, {ALICE: "\x81"}), (second, {BOB: "\x81"})]


def test_a_message_to_nobody_is_kept(room: Shard, say: Say) -> None:
    """All others are away. Its id is between those of the events before and behind it."""
    before = say(ALICE)
    room.redis.xtrim(OUT, maxlen=0)
    room.send_away(BOB, CAROL)
    assert say(ALICE) == ""
    after = decoded(room.redis.xadd(OUT, {"event": "x"}))
    assert [fields for _, fields in kept(room)] == [{ALICE: "\x81"}] * 2
    assert number(before) < number(kept(room)[1][0]) < number(after)


def test_an_event_in_several_entries_is_kept_under_the_id_of_the_first(room: Shard, say: Say) -> None:
    """The further entries name it, so that every recipient knows its place."""
    room.settings["delivery_chunk"] = 1
    say(ALICE)
    (first, event), (_, further) = decoded(room.redis.xrange(OUT))
    assert [entry for entry, _ in kept(room)] == [first]
    assert (event.get("history_id"), further["history_id"]) == (None, first)


@pytest.mark.parametrize("why", ["the room is off", "the message expires at once"])
def test_what_is_not_kept_says_so(room: Shard, say: Say, why: str) -> None:
    """Also in further entries: the edge sends it as without history."""
    room.settings["delivery_chunk"] = 1
    fields = {}
    if why == "the room is off":
        room.redis.sadd(OFF, ROOM, "another")
    else:
        room.redis.sadd(OFF, "another")
        fields["kept_ms"] = "0"
    say(ALICE, **fields)
    assert [event["history_id"] for _, event in decoded(room.redis.xrange(OUT))] == ["-", "-"]
    assert kept(room) == []


def test_without_history_nothing_is_kept_and_nothing_said(room: Shard, say: Say) -> None:
    room.settings["history_max_messages"] = 0
    room.redis.set(OFF, "is not even looked at")
    say(ALICE)
    assert kept(room) == []
    assert room.drain() == [heard("message", BOB, CAROL, by=ALICE)]


def test_a_nickname_is_kept_with_the_message(room: Shard, say: Say) -> None:
    room.settings["sender_prefix"] = "{name}: "
    room.ask("nick", ALICE, text="Al")
    say(ALICE)
    assert kept(room)[0][1] == {ALICE: "\x81", "nick": "Al"}


def test_notices_are_not_kept(room: Shard) -> None:
    room.ask("topic", ALICE, text="words")
    room.ask("message", "operator@example.org", operator="1")
    assert kept(room) == []


def test_an_id_that_redis_refuses_is_replaced(room: Shard, say: Say) -> None:
    """The clock was set back and the out-stream deleted: the message is kept, with a later id."""
    room.redis.xadd(room.keys.history(SHARD, ROOM), {ALICE: "x"}, id="9999999999999-0")
    say(BOB)
    assert [fields for _, fields in kept(room)] == [{ALICE: "x"}, {BOB: "\x81"}]


def test_a_history_of_a_wrong_type_delays_no_message(room: Shard, say: Say) -> None:
    room.redis.set(room.keys.history(SHARD, ROOM), "planted")
    say(ALICE)
    assert room.drain() == [heard("message", BOB, CAROL, by=ALICE)]


def test_a_room_keeps_about_as_many_as_it_may(real_shard: Shard) -> None:
    """The oldest go, a node of the stream at a time. One message in a hundred does it, by its time: here this
    one."""
    real_shard.settings["history_max_messages"] = 200
    real_shard.ask("create", ALICE)
    for at in range(1000):
        real_shard.redis.xadd(real_shard.keys.history(SHARD, ROOM), {ALICE: "x"}, id=f"{at + 1}-0")
    real_shard.redis.xadd(OUT, {"event": "x"}, id="9999999999900-0")
    real_shard.together([real_shard.put("message", ALICE)])
    assert 200 <= len(kept(real_shard)) <= 400


def number(entry_id: str) -> tuple[int, ...]:
    """An id, for comparison."""
    return tuple(map(int, entry_id.split("-")))


def test_a_sender_who_was_away_is_back(room: Shard, say: Any) -> None:
    """broadcast_messages leaves the message to broadcast_message, which asks an edge for the first part."""
    room.send_away(BOB)
    entry_id = room.put("message", BOB)
    assert room.together([entry_id]) == 0
    found = room.handle("broadcast_message", entry_id, BOB)
    assert found == [heard("message", ALICE, CAROL, by=BOB), heard("catch_up", BOB, by=ROOM, first="1")]
    assert room.redis.hget(room.keys.room(SHARD, ROOM), f"returning:{BOB}")
    assert room.redis.xlen(IN) == 0


def test_a_catch_up_that_has_begun_is_not_begun_again(room: Shard) -> None:
    """While the event that leads on exists."""
    room.send_away(BOB)
    leading = decoded(
        room.redis.xadd(OUT, {"event": "catch_up", "room": ROOM, "from": ROOM, "to": BOB, "data": ""})
    )
    room.redis.hset(room.keys.room(SHARD, ROOM), f"returning:{BOB}", leading)
    entry_id = room.put("message", BOB)
    room.run("broadcast_message", *room.command("broadcast_message", entry_id, BOB))
    assert [event["event"] for _, event in decoded(room.redis.xrange(OUT))] == ["catch_up", "message"]


@pytest.mark.parametrize("command", ["destroy", "exit"])
def test_nothing_is_kept_of_a_room_that_is_gone(room: Shard, command: str) -> None:
    """Whichever way it ends; nor what its owners wished, nor who asked for receipts and who sent them."""
    of_receipts = [
        *(keys.authors(SHARD, ROOM, "recent"), keys.authors(SHARD, ROOM, "older")),
        *(keys.receipts(SHARD, ROOM, "recent"), keys.receipts(SHARD, ROOM, "older")),
    ]
    for name in of_receipts:
        room.redis.hset(name, "id", BOB)
    say_once = room.put("message", ALICE)
    room.handle("broadcast_message", say_once, ALICE)
    room.redis.sadd(OFF, ROOM)
    room.ask(command, ALICE, text="confirm")
    assert not room.exists()
    assert kept(room) == []
    assert not room.redis.exists(room.keys.history(SHARD, ROOM), OFF, *of_receipts)


def test_trimming_removes_what_is_too_old_and_too_much(real_shard: Shard) -> None:
    """The reply says how much of each, and the times of the first and the last message that stay."""
    history = real_shard.keys.history(SHARD, ROOM)
    for number in range(1, 301):
        real_shard.redis.xadd(history, {ALICE: "x"}, id=f"{number}-1")
    both = [history, EXPIRING]
    assert real_shard.run("trim_history", both, [0, 0, 500]) == [300, 0, 0, 1, 300, 0]
    assert real_shard.run("trim_history", both, [11, 1, 500]) == [290, 10, 0, 11, 300, 0]
    stay, too_old, too_many, first, last, _ = real_shard.run("trim_history", both, [0, 0, 100])
    assert (stay, too_old, too_many, first, last) == (100, 0, 190, 201, 300)
    assert real_shard.run("trim_history", both, [0, 0, 0]) == [0, 0, stay, 0, 0, 0]
    assert not real_shard.redis.exists(history)


@pytest.mark.parametrize(
    ("wall", "stay"), [(0, 1), (3600, 1), (-3600, 2), (30 * 86_400, 1), (-30 * 86_400, 2)]
)
def test_a_message_is_too_old_if_two_clocks_say_so(real_shard: Shard, wall: int, stay: int) -> None:
    """A wrong clock of one worker, ahead by any time, removes nothing that is younger by Redis's clock."""
    history, now = real_shard.keys.history(SHARD, ROOM), int(real_shard.redis.time()[0])
    for age in (4000, 60):
        real_shard.redis.xadd(history, {ALICE: "x"}, id=f"{(now - age) * 1000}-0")
    args = [*too_old(3600.0, now + wall), 500]
    assert real_shard.run("trim_history", [history, EXPIRING], args)[0] == stay


def trim(shard: Shard, oldest_ms: int = 0) -> list[int]:
    """A walk of the janitor comes by."""
    found: list[int] = shard.run(
        "trim_history", [shard.keys.history(SHARD, ROOM), EXPIRING], [oldest_ms, 1, 500]
    )
    return found


def test_a_message_that_has_expired_is_deleted_with_the_next_walk(room: Shard, say: Say) -> None:
    """Wherever it stands among others; those that expire later, or never, stay."""
    first, short, later = say(ALICE), say(ALICE, kept_ms="5000"), say(BOB, kept_ms="60000")
    assert trim(room)[0] == 3
    ends = room.redis.zscore(EXPIRING, short)
    assert ends == int(short.partition("-")[0]) + 5000
    room.redis.zadd(EXPIRING, {short: ends - 5000})
    assert (trim(room)[0], trim(room)[5]) == (2, 0)
    assert [entry for entry, _ in kept(room)] == [first, later]
    assert decoded(room.redis.zrange(EXPIRING, 0, -1)) == [later]


def test_a_history_of_expired_messages_leaves_no_key(room: Shard, say: Say) -> None:
    short = say(ALICE, kept_ms="5000")
    room.redis.zadd(EXPIRING, {short: 1})
    assert trim(room) == [0, 0, 0, 0, 0, 1]
    assert not room.redis.exists(room.keys.history(SHARD, ROOM), EXPIRING)


def test_what_was_trimmed_before_it_expired_is_not_remembered(real_shard: Shard) -> None:
    """Else messages with a long Expires would be, for as long."""
    history = real_shard.keys.history(SHARD, ROOM)
    for number in range(1, 5):
        real_shard.redis.xadd(history, {ALICE: "x"}, id=f"{number}-1")
        real_shard.redis.zadd(EXPIRING, {f"{number}-1": 2**50})
    assert trim(real_shard, 3)[0] == 2
    assert decoded(real_shard.redis.zrange(EXPIRING, 0, -1)) == ["3-1", "4-1"]


@pytest.mark.parametrize("command", ["destroy", "set"])
def test_what_expires_is_forgotten_with_the_history(room: Shard, say: Say, command: str) -> None:
    say(ALICE, kept_ms="60000")
    assert room.redis.exists(EXPIRING)
    room.ask(command, ALICE, text="off")
    assert not room.redis.exists(EXPIRING)


def test_an_index_of_a_wrong_type_delays_no_message(room: Shard, say: Say) -> None:
    room.redis.set(EXPIRING, "planted")
    say(ALICE, kept_ms="60000")
    assert len(kept(room)) == 1
