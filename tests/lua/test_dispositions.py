"""return_disposition: who gets the receipts for a message."""

from __future__ import annotations

from typing import Literal

import pytest

from imc_common import keys
from tests.lua.shard import ALICE, BOB, CAROL, DAVE, ROOM, SHARD, Heard, Shard, decoded, heard


@pytest.fixture
def room(shard: Shard) -> Shard:
    """Alice owns the room, Bob and Carol are members, Dave is invited."""
    shard.ask("create", ALICE)
    for user in (BOB, CAROL):
        shard.ask("add", ALICE, user=user)
    shard.ask("invite", ALICE, user=DAVE)
    wrote(shard, "m1", ALICE)
    wrote(shard, "m2", BOB)
    return shard


def wrote(shard: Shard, message_id: str, author: str, part: Literal["recent", "older"] = "recent") -> None:
    """Who has written a message; written by no script."""
    shard.redis.hset(keys.authors(SHARD, ROOM, part), message_id, author)


def test_the_author_gets_it_and_nobody_else(room: Shard) -> None:
    """However large the room is."""
    assert room.ask("disposition", CAROL, message_id="m1 -") == [
        heard("disposition", ALICE, by=CAROL, list="m1")
    ]


def read(shard: Shard, reader: str, status: str, message_id: str = "m1") -> list[str]:
    """A receipt of one message; the ids of which the author is told."""
    told = shard.ask("disposition", reader, message_id=f"{message_id} -", detail=status)
    return [one.more["list"] for one in told]


@pytest.fixture
def several(room: Shard) -> Shard:
    """Carol has two devices in the room."""
    room.redis.hset(room.keys.members(SHARD, ROOM), CAROL, "member devices")
    names = {f"{CAROL};gr={number}": "device" for number in (1, 2)}
    room.redis.hset(keys.devices(SHARD, ROOM), mapping=names)  # type: ignore[arg-type]
    return room


def test_the_devices_of_a_reader_are_one_reader(several: Shard) -> None:
    """Read on one, receipts once: "displayed" says "delivered" as well."""
    assert [read(several, CAROL, status) for status in ("delivered", "delivered")] == [["m1"], []]
    assert [read(several, CAROL, status) for status in ("displayed", "delivered", "displayed")] == [
        ["m1"],
        [],
        [],
    ]
    assert read(several, CAROL, "displayed", "m2") == ["m2"]
    assert read(several, BOB, "displayed") == ["m1"]


def test_of_receipts_together_only_what_is_new_is_told(several: Shard) -> None:
    """As a client sends them that was started again."""
    wrote(several, "m3", ALICE)
    read(several, CAROL, "delivered", "m1")
    told = several.ask("disposition", CAROL, message_id="m1 - m3 -", detail="delivered delivered")
    assert [one.more["list"] for one in told] == ["m3"]


def test_other_receipts_are_always_told(several: Shard) -> None:
    """Such as failures; and those of an edge that does not say what they are."""
    assert [read(several, CAROL, "other") for _ in range(2)] == [["m1"], ["m1"]]
    assert several.ask("disposition", CAROL, message_id="m1 -")


def test_a_reader_with_one_client_costs_no_memory(room: Shard) -> None:
    """Nothing is sent twice there."""
    assert [read(room, CAROL, "displayed") for _ in range(2)] == [["m1"], ["m1"]]
    assert not room.redis.exists(keys.receipts(SHARD, ROOM, "recent"))


def test_what_a_room_remembers_of_receipts_is_bounded(several: Shard) -> None:
    """At least the latest 512, at most 1,024, for a day at least."""
    for number in range(1100):
        wrote(several, f"n{number}", ALICE)
        read(several, CAROL, "delivered", f"n{number}")
    names = [keys.receipts(SHARD, ROOM, part) for part in ("recent", "older")]  # type: ignore[arg-type]
    assert 512 <= sum(several.redis.hlen(name) for name in names) <= 1024
    assert all(86_400 < several.redis.ttl(name) <= 2 * 86_400 for name in names)
    assert read(several, CAROL, "delivered", "n600") == []


def test_receipts_of_one_body_go_each_to_its_author(room: Shard) -> None:
    """An author of two messages gets them together; what is about one's own message goes nowhere."""
    wrote(room, "m3", ALICE, "older")
    wrote(room, "m4", CAROL)
    assert room.ask("disposition", CAROL, message_id="m1 - m2 - m3 - m4 - m5 -") == [
        heard("disposition", ALICE, by=CAROL, list="m1 m3"),
        heard("disposition", BOB, by=CAROL, list="m2"),
    ]


@pytest.mark.parametrize("reader", [DAVE, "eve@example.org"])
def test_only_members_have_read_a_message(room: Shard, reader: str) -> None:
    """And they get no notice: a program has sent it."""
    assert room.ask("disposition", reader, message_id="m1 -") == []


def test_an_author_who_is_away_or_has_left_gets_none(room: Shard) -> None:
    """Receipts are not kept."""
    room.send_away(ALICE)
    assert room.ask("disposition", CAROL, message_id="m1 -") == []
    room.ask("exit", BOB)
    assert room.ask("disposition", CAROL, message_id="m2 -") == []


def test_a_message_that_is_not_known_has_no_author(room: Shard) -> None:
    """Nothing is written either."""
    before = room.dump()
    assert room.ask("disposition", CAROL, message_id="m9 -") == []
    assert room.ask("disposition", CAROL) == []
    after = room.dump()
    assert {key: value for key, value in before.items() if ":in" not in key and ":out" not in key} == {
        key: value for key, value in after.items() if ":in" not in key and ":out" not in key
    }


def say(shard: Shard, sender: str, message_id: str, *, together: bool) -> list[Heard]:
    """A message in CPIM that asks for receipts; what was heard of it."""
    entry_id = shard.put("message", sender, message_id=message_id)
    if together and shard.together([entry_id]):
        return shard.drain()
    return shard.handle("broadcast_message", entry_id, sender)


def authors(shard: Shard, part: Literal["recent", "older"]) -> dict[str, str]:
    """Who is remembered."""
    found: dict[str, str] = decoded(shard.redis.hgetall(keys.authors(SHARD, ROOM, part)))
    return found


@pytest.mark.parametrize("together", [False, True])
def test_who_asks_for_receipts_is_remembered(room: Shard, together: bool) -> None:
    """For as long as the history keeps messages, at least. A second author of the same id is not."""
    say(room, CAROL, "m7", together=together)
    say(room, BOB, "m7", together=together)
    say(room, BOB, "m8", together=together)
    assert authors(room, "recent") == {"m1": ALICE, "m2": BOB, "m7": CAROL, "m8": BOB}
    assert 7 * 86_400 < room.redis.ttl(keys.authors(SHARD, ROOM, "recent")) <= 14 * 86_400
    assert room.ask("disposition", ALICE, message_id="m7 -") == [
        heard("disposition", CAROL, by=ALICE, list="m7", client="cpim")
    ]


@pytest.mark.parametrize(("history_max", "least"), [(0, 128), (50, 128), (200, 200)])
def test_the_latest_authors_of_a_room_are_remembered(room: Shard, history_max: int, least: int) -> None:
    """At least as many as the messages that a room keeps, at most twice as many."""
    room.settings["history_max_messages"] = history_max
    for number in range(600):
        say(room, CAROL, f"n{number}", together=True)
    known = authors(room, "recent") | authors(room, "older")
    assert least <= len(known) <= 2 * least
    assert all(f"n{number}" in known for number in range(600 - least, 600))


@pytest.mark.parametrize("together", [False, True])
def test_who_is_back_after_a_weekend_finds_the_authors_of_what_the_history_has(
    room: Shard, together: bool
) -> None:
    """The receipts for the oldest message that the history keeps reach its author."""
    room.settings["history_max_messages"] = 300
    say(room, CAROL, "oldest", together=together)
    for number in range(299):
        say(room, BOB, f"n{number}", together=together)
    assert room.redis.ttl(keys.authors(SHARD, ROOM, "older")) != -1
    assert room.ask("disposition", ALICE, message_id="oldest -") == [
        heard("disposition", CAROL, by=ALICE, list="oldest", client="cpim")
    ]


def test_nobody_gets_the_receipts_for_another_members_message(room: Shard) -> None:
    """Who uses an id again gets none, also when the room has begun another index since."""
    say(room, CAROL, "n", together=True)
    for number in range(200):
        wrote(room, f"n{number}", ALICE)
    for message_id in ("n", "o", "n"):
        say(room, BOB, message_id, together=True)
        assert [each.to for each in room.ask("disposition", ALICE, message_id="n -")] == [(CAROL,)]
    assert authors(room, "recent") == {}


def test_an_author_is_remembered_for_a_day_however_seldom_somebody_writes(room: Shard) -> None:
    """Not only as long as the message before; also if the history keeps messages for less."""
    room.settings["history_max_age"] = 60
    say(room, CAROL, "m7", together=True)
    for seconds, left in ((86_500, 86_500), (86_300, 2 * 86_400)):
        room.redis.expire(keys.authors(SHARD, ROOM, "recent"), seconds)
        say(room, CAROL, f"m{seconds}", together=True)
        assert left - 100 < room.redis.ttl(keys.authors(SHARD, ROOM, "recent")) <= left


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("part", ["recent", "older"])
def test_an_index_of_a_wrong_type_delays_no_message(room: Shard, part: str, together: bool) -> None:
    """There are no receipts then."""
    say(room, CAROL, "m6", together=together)
    key = keys.authors(SHARD, ROOM, part)  # type: ignore[arg-type]
    room.redis.set(key, "planted")
    assert [each.event for each in say(room, CAROL, "m7", together=together)] == ["message"]


def test_the_author_of_a_kept_message_is_found_by_its_place(room: Shard) -> None:
    """The message comes with it, because it names the message otherwise than its author does."""
    room.settings["history_max_messages"] = 500
    entry_id = room.put("message", ALICE)
    room.handle("broadcast_message", entry_id, ALICE)
    [(place, _)] = decoded(room.redis.xrange(room.keys.history(SHARD, ROOM)))
    assert room.ask("disposition", CAROL, message_id=f"one {place} m2 - two {place} three 1-1") == [
        heard("disposition", ALICE, by=CAROL, list="one", about="\x81"),
        heard("disposition", BOB, by=CAROL, list="m2"),
        heard("disposition", ALICE, by=CAROL, list="two", about="\x81"),
    ]
    assert room.ask("disposition", ALICE, message_id=f"one {place}") == []
