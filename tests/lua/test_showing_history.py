"""#history and #set history: what members see of what was said, and what owners let the room keep."""

from __future__ import annotations

import pytest

from imc_common import keys
from tests.lua.shard import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    OUT,
    ROOM,
    SCRIPT_OF,
    SHARD,
    Shard,
    decoded,
    heard,
    refused,
    told_all,
)

OFF = keys.history_off(SHARD)


@pytest.fixture
def room(shard: Shard) -> Shard:
    """Alice owns a room that keeps messages; Bob is a member, Dave invited."""
    shard.settings |= {"history_max_messages": 500, "history_max_age": 0.0}
    shard.ask("create", ALICE)
    shard.ask("add", ALICE, user=BOB)
    shard.ask("invite", ALICE, user=DAVE)
    return shard


def say(shard: Shard, count: int = 1, sender: str = ALICE) -> list[str]:
    """So many messages; their ids in the history."""
    for _ in range(count):
        shard.ask("message", sender)
    found = decoded(shard.redis.xrevrange(shard.keys.history(SHARD, ROOM), count=count))
    return [str(entry) for entry, _ in reversed(found)]


def shown(shard: Shard, who: str = BOB, **fields: str) -> list[str]:
    """The ids of the messages that `#history` sends, without the notice (`test_more_history`)."""
    entry_id = shard.put("history", who, **fields)
    assert shard.run("request_history", *shard.command("request_history", entry_id, who)) == "done"
    shard.show()
    found = [event for _, event in decoded(shard.redis.xrange(OUT)) if event["event"] != "more_said"]
    shard.redis.xtrim(OUT, maxlen=0)
    assert {(event["event"], event["to"], event.get("catch_up")) for event in found} <= {
        ("message", who, "replay")
    }
    return [event["history_id"] for event in found]


def test_the_last_messages_are_shown_in_order(room: Shard) -> None:
    """Twenty, or as many as are asked for. The own ones too; from their authors, as they were sent."""
    said = say(room, 12) + say(room, 12, BOB)
    assert shown(room) == said[-20:]
    assert shown(room, text="3") == said[-3:]
    assert shown(room, text="1000") == said


def see_all(room: Shard) -> None:
    """Members see what is older than the room, as messages have it in these tests."""
    room.ask("set", ALICE, text="all")
    room.redis.xtrim(OUT, maxlen=0)


def test_what_was_said_since_a_time_is_shown(room: Shard) -> None:
    see_all(room)
    said = say(room, 2)
    old = room.keys.history(SHARD, ROOM)
    room.redis.delete(old)
    room.redis.xadd(old, {ALICE: "\x81"}, id="1000-0")
    for entry in said:
        room.redis.xadd(old, {ALICE: "\x81"}, id=entry)
    assert shown(room, ALICE, text="3600s") == said
    assert shown(room, ALICE, text="@500") == ["1000-0", *said]
    assert shown(room, ALICE, text="@2000") == said


def test_of_what_was_said_since_a_time_the_first_messages_are_shown(room: Shard) -> None:
    """So that one can go on from there; of a number, the last ones."""
    see_all(room)
    history = room.keys.history(SHARD, ROOM)
    for number in range(1, 131):
        room.redis.xadd(history, {ALICE: "\x81"}, id=f"{number}000-0")
    assert shown(room, ALICE, text="@1000") == [f"{number}000-0" for number in range(1, 101)]
    assert shown(room, ALICE, text="@101000") == [f"{number}000-0" for number in range(101, 131)]
    assert shown(room, ALICE, text="1000") == [f"{number}000-0" for number in range(31, 131)]


def test_a_member_sees_what_was_said_since_joining(room: Shard) -> None:
    """Or all, if the owners want it. An owner who created the room sees all in any case."""
    before = say(room, 2)
    room.ask("join", CAROL)
    after = say(room)
    assert shown(room, CAROL) == after
    assert shown(room, ALICE) == before + after
    room.ask("set", ALICE, text="all")
    assert shown(room, CAROL) == before + after
    room.ask("set", ALICE, text="join")
    assert shown(room, CAROL) == after


def test_what_is_too_old_is_not_shown(room: Shard) -> None:
    room.settings["history_max_age"] = 1000.0
    room.redis.xadd(room.keys.history(SHARD, ROOM), {ALICE: "\x81"}, id="1-1")
    said = say(room)
    assert shown(room, ALICE) == said


def test_an_empty_history_says_so(room: Shard) -> None:
    assert room.ask("history", BOB) == [heard("nothing_said", BOB, by=BOB)]


def test_what_is_too_much_goes_at_once(room: Shard) -> None:
    """The latest stay."""
    said = say(room, 5)
    room.ask("set", ALICE, text="3")
    kept = decoded(room.redis.xrange(room.keys.history(SHARD, ROOM)))
    assert [entry for entry, _ in kept] == said[2:]


@pytest.mark.parametrize("who", [CAROL, DAVE])
def test_only_members_see_the_history(room: Shard, who: str) -> None:
    say(room)
    assert room.ask("history", who) == refused(who, "not_member", "history")


@pytest.mark.parametrize("leave", ["exit", "remove"])
def test_who_leaves_before_an_edge_has_time_sees_nothing(room: Shard, leave: str) -> None:
    """A request is one event, however much it asks for: what is said meanwhile waits behind one entry."""
    say(room, 3)
    room.redis.xtrim(OUT, maxlen=0)
    entry_id = room.put("history", BOB, text="3")
    assert room.run("request_history", *room.command("request_history", entry_id, BOB)) == "done"
    ((_, item),) = decoded(room.redis.xrange(OUT))
    assert (item["event"], item["to"], item["catch_up"], item["text"]) == ("catch_up", BOB, "replay", "3")
    leaving = room.put(leave, BOB if leave == "exit" else ALICE, user=BOB)
    script = SCRIPT_OF[leave]
    assert (
        room.run(script, *room.command(script, leaving, BOB if leave == "exit" else ALICE, user=BOB))
        == "done"
    )
    room.show()
    events = [fields["event"] for _, fields in decoded(room.redis.xrange(OUT))]
    assert events
    assert not {"message", "nothing_said", "catch_up"} & set(events)


@pytest.mark.parametrize("wish", ["off", "20", "7d", "join", "all"])
def test_all_members_hear_what_the_room_keeps(room: Shard, wish: str) -> None:
    assert room.ask("set", ALICE, text=wish) == told_all("history_set", ALICE, BOB, by=ALICE, detail=wish)


def test_off_deletes_what_was_kept_and_nobody_is_away(room: Shard) -> None:
    """From the next message on, the room keeps nothing; another wish changes that."""
    say(room)
    room.send_away(BOB)
    room.ask("set", ALICE, text="off")
    assert not room.redis.exists(room.keys.history(SHARD, ROOM))
    assert room.members()[BOB] == "member"
    of_room = room.keys.room(SHARD, ROOM)
    assert not room.redis.hexists(of_room, f"away:{BOB}")
    assert room.redis.hexists(of_room, f"ended:{BOB}"), "an edge must not wait for what has failed"
    room.ask("message", ALICE)
    assert not room.redis.exists(room.keys.history(SHARD, ROOM))
    assert decoded(room.redis.smembers(OFF)) == {ROOM}
    room.ask("set", ALICE, text="20")
    assert not room.redis.exists(OFF)
    assert len(say(room)) == 1


@pytest.mark.parametrize(("who", "reason"), [(BOB, "admins_only"), (CAROL, "not_member")])
def test_only_owners_say_what_the_room_keeps(room: Shard, who: str, reason: str) -> None:
    reason = "owner_only" if reason == "admins_only" else reason
    assert room.ask("set", who, text="off") == refused(who, reason, "set", detail="off")


def test_nothing_can_be_set_where_rooms_keep_nothing(room: Shard) -> None:
    room.settings["history_max_messages"] = 0
    assert room.ask("set", ALICE, text="20") == refused(ALICE, "no_history", "set", detail="20")


def test_a_newcomer_is_told_whether_the_room_keeps_messages(room: Shard) -> None:
    """The notice says so, unless the room's owners want none."""
    assert room.ask("join", CAROL)[0] == heard("joined", CAROL, by=CAROL)
    room.ask("set", ALICE, text="off")
    assert room.ask("join", DAVE)[0] == heard("joined", DAVE, by=DAVE, detail="off")


def test_who_is_imported_into_a_room_that_exists_sees_what_is_said_from_then_on(room: Shard) -> None:
    """Who was a member already, or is only invited, is as before."""
    say(room, 2)
    members = room.keys.members(SHARD, ROOM)
    where = [room.keys.rooms(SHARD), room.keys.room(SHARD, ROOM), members, OUT]
    args = [ROOM, "0", ALICE, "1", "private:", "owned:"]
    args += [BOB, "member", CAROL, "member", "eve@example.org", "invited"]
    before = room.redis.hget(room.keys.room(SHARD, ROOM), f"joined:{BOB}")
    assert room.run("import_room", where, args) == "completed"
    assert room.redis.hget(room.keys.room(SHARD, ROOM), f"joined:{BOB}") == before
    assert not room.redis.hexists(room.keys.room(SHARD, ROOM), "joined:eve@example.org")
    assert room.ask("history", CAROL) == [heard("nothing_said", CAROL, by=CAROL)]
    after = say(room)
    room.drain()
    assert shown(room, CAROL) == after


def test_a_room_that_an_import_creates_has_members_without_a_beginning(shard: Shard) -> None:
    """It has no history."""
    names = [shard.keys.rooms(SHARD), shard.keys.room(SHARD, ROOM), shard.keys.members(SHARD, ROOM), OUT]
    args = [ROOM, "0", ALICE, "1", "private:", "owned:", ALICE, "owner"]
    assert shard.run("import_room", names, args) == "made"
    assert not shard.redis.hexists(shard.keys.room(SHARD, ROOM), f"joined:{ALICE}")
