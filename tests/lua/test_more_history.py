"""#history more: what a catch-up or a long answer has left out, the oldest first, in portions."""

from __future__ import annotations

import pytest

from tests.lua.conference import BOBS, accept, handle, opened
from tests.lua.shard import ALICE, BOB, CAROL, OUT, ROOM, SHARD, Shard, decoded, heard

MAX_SHOWN = 100


@pytest.fixture
def room(shard: Shard) -> Shard:
    """Alice owns a room that keeps messages; Bob is a member, and a catch-up has three messages at most."""
    shard.settings |= {"history_max_messages": 500, "history_max_age": 0.0, "catch_up_max": 3}
    shard.ask("create", ALICE)
    shard.ask("add", ALICE, user=BOB)
    return shard


def say(shard: Shard, count: int, sender: str = ALICE) -> list[str]:
    """So many messages; their ids in the history."""
    for _ in range(count):
        shard.ask("message", sender)
    found = decoded(shard.redis.xrevrange(shard.keys.history(SHARD, ROOM), count=count))
    return [str(entry) for entry, _ in reversed(found)]


def out(shard: Shard) -> list[dict[str, str]]:
    """The events since the last time."""
    found = [fields for _, fields in decoded(shard.redis.xrange(OUT))]
    shard.redis.xtrim(OUT, maxlen=0)
    return found


def miss(shard: Shard, missed: list[str], user: str = BOB) -> list[str]:
    """The user was away for these messages and is back; the notices, as number of earlier messages."""
    fields = {"event": "message", "status": "480", "history_id": missed[0], "user": ALICE}
    report = shard.put("delivery_report", user, ROOM, **fields)
    assert shard.run("mark_away", *shard.command("mark_away", report, user, ROOM)) == "done"
    entry = shard.put("user_online", BOB, BOB)
    assert shard.run("call_user_back", *shard.call_online(entry, BOB)) == "done"
    ((work, _),) = [each for each in decoded(shard.redis.xrange(OUT)) if each[1]["event"] == "catch_up"]
    shard.run("hand_out", *shard.call_hand_out(work, user))
    return [event["detail"] for event in out(shard) if event["event"] == "skipped"]


def shown(shard: Shard, text: str = "more", who: str = BOB, **fields: str) -> list[str]:
    """The ids of the messages that `#history` sends, and the names of the notices."""
    entry_id = shard.put("history", who, text=text, **fields)
    assert shard.run("request_history", *shard.command("request_history", entry_id, who)) == "done"
    shard.show()
    return [event.get("history_id", event["event"]) for event in out(shard)]


def state(shard: Shard) -> list[str]:
    found = decoded(shard.redis.hkeys(shard.keys.room(SHARD, ROOM)))
    return [field for field in found if field.startswith("more:")]


def test_more_gives_what_the_notice_speaks_of_and_nothing_else(room: Shard) -> None:
    """Not what was said before or came with the catch-up, and not the own message, which is not counted."""
    say(room, 2)
    missed = say(room, 2)
    say(room, 1, BOB)
    missed += say(room, 5)
    assert miss(room, missed) == ["4"]
    say(room, 2)
    room.drain()
    assert shown(room) == missed[:4]
    assert shown(room) == ["nothing_said"]
    assert state(room) == []


def test_more_comes_in_portions_and_each_says_that_there_is_another(room: Shard) -> None:
    missed = say(room, 2 * MAX_SHOWN + 7 + 3)
    assert miss(room, missed) == [str(2 * MAX_SHOWN + 7)]
    assert shown(room) == [*missed[:100], "more_said"]
    assert shown(room) == [*missed[100:200], "more_said"]
    assert shown(room) == missed[200:207]
    assert shown(room) == ["nothing_said"]


def test_a_portion_that_holds_all_does_not_speak_of_another(room: Shard) -> None:
    """The user's own message is behind it, and none for the user."""
    missed = say(room, MAX_SHOWN)
    say(room, 1, BOB)
    missed += say(room, 3)
    assert miss(room, missed) == [str(MAX_SHOWN)]
    assert shown(room) == missed[:100]


def test_a_second_absence_adds_to_what_was_not_shown(room: Shard) -> None:
    """What came with the first catch-up and live stays out."""
    first = say(room, 5)
    assert miss(room, first) == ["2"]
    say(room, 2)
    second = say(room, 4)
    assert miss(room, second) == ["3"]
    assert shown(room) == [*first[:2], second[0]]


def test_an_absence_that_is_counted_again_counts_once(room: Shard) -> None:
    """The first catch-up failed: it begins anew where the absence began."""
    first = say(room, 5)
    assert miss(room, first) == ["2"]
    further = say(room, 2)
    assert miss(room, first) == ["4"]
    assert shown(room) == [*first, *further][:4]


def test_absences_are_kept_up_to_a_number(room: Shard) -> None:
    """The latest ones. So the room's hash does not grow with each."""
    absences = []
    for _ in range(12):
        absences.append(say(room, 4))
        told = miss(room, absences[-1])
    assert told == ["10"]
    assert shown(room) == [each[0] for each in absences[-10:]]


def test_nothing_is_said_of_earlier_messages_that_are_all_ones_own(room: Shard) -> None:
    first = say(room, 1, BOB)
    say(room, 3)
    assert miss(room, first) == []
    assert state(room) == []


@pytest.mark.parametrize("span", ["3600s", "@1000"])
def test_what_was_said_since_a_time_goes_on_with_more(room: Shard, span: str) -> None:
    """With the own messages. What is said later came live."""
    said = say(room, 60) + say(room, 60, BOB)
    assert shown(room, span) == [*said[:100], "more_said"]
    say(room, 5)
    room.drain()
    assert shown(room) == said[100:]
    assert shown(room) == ["nothing_said"]
    assert shown(room, "100")[-1] != "more_said"


def test_exactly_one_portion_since_a_time_is_all(room: Shard) -> None:
    said = say(room, MAX_SHOWN)
    assert shown(room, "@1000") == said


def test_more_does_not_show_what_the_rules_forbid_meanwhile(room: Shard) -> None:
    """The owners let new members see all, and then no longer."""
    said = say(room, 120)
    room.ask("join", CAROL)
    later = say(room, 1)
    room.ask("set", ALICE, text="all")
    room.drain()
    assert shown(room, "@1000", CAROL) == [*said[:100], "more_said"]
    room.ask("set", ALICE, text="join")
    room.drain()
    assert shown(room, "more", CAROL) == later


def test_nothing_is_left_for_who_has_joined_again(room: Shard) -> None:
    assert miss(room, say(room, 5)) == ["2"]
    room.ask("exit", BOB)
    room.ask("join", BOB)
    room.drain()
    assert room.ask("history", BOB, text="more") == [heard("nothing_said", BOB, by=BOB)]


def test_each_device_has_its_own_rest(shard: Shard) -> None:
    """It is forgotten when the device leaves."""
    shard.settings["history_max_messages"] = 0
    opened(shard, BOB)
    device = f"{BOBS};aor"
    accept(shard, BOBS)
    out(shard)
    shard.settings |= {"history_max_messages": 500, "history_max_age": 0.0, "catch_up_max": 3}
    missed = say(shard, 5)
    assert miss(shard, missed, device) == ["2"]
    assert state(shard) == [f"more:{device}"]
    assert shown(shard, device="another@example.org") == ["nothing_said"]
    assert shown(shard, device=BOBS) == missed[:2]
    assert miss(shard, missed, device) == ["2"]
    handle(shard, "remove", ALICE, user=BOB)
    assert state(shard) == []
