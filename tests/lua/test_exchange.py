"""Nobody is stuck behind a message that its phone cannot take, and nobody who is away loses a message."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pytest

from imc_common import keys
from imc_common.rooms.delivery_reports import AWAY
from tests.lua.phone import Fields, Phone
from tests.lua.shard import BOB, CAROL, ROOM, SHARD, Shard, decoded
from tests.lua.test_catch_up import about, room, say

__all__ = ["room"]

STATUSES = sorted(status for status in AWAY if status.isdigit())
"""All that say that nobody is there; 408 is also silence."""
PROBES = 20
"""More than a phone needs that is there."""

Status = Callable[[Fields], str]


def fails_on(some: Collection[str], status: str = "503", idle: str = "200") -> Status:
    """A phone that is there, and responds like this to some messages and to an ``idle``."""
    return lambda fields: (
        idle if fields["event"] == "idle" else status if fields.get("history_id") in some else "200"
    )


def off(status: str) -> Status:
    """A phone that is off; a proxy responds for it."""
    return lambda fields: status


def lost(shard: Shard) -> list[tuple[str, str]]:
    """The messages that are recorded as given up, and who wrote them."""
    entries = [fields for _, fields in decoded(shard.redis.xrange(keys.undelivered(SHARD)))]
    return [(fields["of"], fields["user"]) for fields in entries if fields["status"] == "refused"]


def told(shard: Shard, count: int, phone: Phone) -> list[str]:
    """So many messages of Carol's, each of which gets to the phone or not; their ids."""
    for _ in range(count):
        entry = shard.put("message", CAROL)
        assert shard.run("broadcast_message", *shard.command("broadcast_message", entry, CAROL)) == "done"
        phone.run()
    latest = decoded(shard.redis.xrevrange(shard.keys.history(SHARD, ROOM), count=count))
    return [entry for entry, _ in reversed(latest)]


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("idle", ["200", "415", "488"])
def test_a_member_who_is_there_loses_the_one_message_that_its_phone_cannot_take(
    room: Shard, status: str, idle: str
) -> None:
    """Nobody says that it is there. Whatever it responds to an ``idle``, a phone has responded."""
    phone = Phone(room, off(status))
    missed = told(room, 4, phone)
    phone.status_of = fails_on({missed[0]}, status, idle)
    for _ in range(PROBES):
        phone.probe()
    assert phone.got == missed[1:]
    assert phone.tried.count(missed[0]) > 3
    assert lost(room) == [(missed[0], CAROL)]
    assert told(room, 1, phone) == phone.got[3:]
    assert room.members()[BOB] == "member"
    assert about(room, "refused") is None


@pytest.mark.parametrize("status", STATUSES)
def test_it_is_enough_that_the_phone_registers(room: Shard, status: str) -> None:
    """Three times, and fails each time."""
    phone = Phone(room, off(status))
    missed = told(room, 4, phone)
    phone.status_of = fails_on({missed[0]}, status)
    for _ in range(2):
        phone.sign()
        assert phone.got == []
    phone.sign()
    assert phone.got == missed[1:]
    assert lost(room) == [(missed[0], CAROL)]


@pytest.mark.parametrize("status", ["408", "480", "500", "503"])
@pytest.mark.parametrize("failed", [1, 2, 3, 4, 5, 6, 14, 15])
@pytest.mark.parametrize("sign", [False, True])
def test_who_was_away_loses_nothing_however_long_it_was(
    room: Shard, status: str, failed: int, sign: bool
) -> None:
    """Whichever attempt finds out that it is back."""
    phone = Phone(room, off(status))
    missed = told(room, 13, phone)
    for _ in range(failed):
        phone.probe()
    phone.status_of = fails_on(())
    phone.sign() if sign else phone.probe()
    assert phone.got == missed
    assert lost(room) == []
    assert about(room, "refused") is None


@pytest.mark.parametrize("bad", [(), (0,), (1, 2)])
@pytest.mark.parametrize("failing", range(1, 17))
def test_who_comes_back_at_any_moment_loses_nothing(room: Shard, bad: tuple[int, ...], failing: int) -> None:
    """Its own messages are signs that it is there, while nothing reaches it; then, between any two requests,
    everything does, but for what it cannot take."""
    phone = Phone(room, off("480"))
    missed = told(room, 9, phone)
    poison = [missed[at] for at in bad]
    count = 0

    def respond(fields: Fields) -> str:
        nonlocal count
        count += 1
        return "480" if count <= failing else fails_on(poison)(fields)

    phone.status_of = respond
    while count <= failing:
        phone.sign()
    for _ in range(PROBES):
        phone.sign()
    assert phone.got == [each for each in missed if each not in poison]
    assert [each for each, _ in lost(room)] == poison


def test_who_is_found_and_gone_again_each_time_loses_nothing(room: Shard) -> None:
    """It registers, or takes an ``idle``, and then no message arrives; not even a later one."""
    phone = Phone(room, off("480"))
    missed = told(room, 3, phone)
    phone.status_of = fails_on(missed, "480")
    for _ in range(PROBES):
        phone.probe()
        phone.sign()
    assert phone.got == []
    assert about(room, "away") == missed[0]
    phone.status_of = fails_on(())
    phone.sign()
    assert phone.got == missed
    assert lost(room) == []


@pytest.mark.parametrize("bad", [(0, 1), (0, 1, 2, 3, 4), (1,), (1, 3), (0, 4, 5), (5, 6, 7)])
@pytest.mark.parametrize("sign", [False, True])
def test_several_messages_may_be_too_much(room: Shard, bad: tuple[int, ...], sign: bool) -> None:
    """In a row or apart. All others arrive in order, as far as something follows."""
    phone = Phone(room, off("408"))
    missed = told(room, 9, phone)
    poison = [missed[at] for at in bad]
    phone.status_of = fails_on(poison, "408")
    for _ in range(PROBES):
        phone.sign() if sign else phone.probe()
    assert phone.got == [each for each in missed if each not in poison]
    assert [each for each, _ in lost(room)] == poison


def test_the_last_message_waits_until_another_one_follows(room: Shard) -> None:
    """Until then it costs nothing to keep it; and the waits become longer."""
    phone = Phone(room, off("503"))
    (first,) = told(room, 1, phone)
    phone.status_of = fails_on({first})
    for _ in range(PROBES):
        phone.probe()
    assert about(room, "away") == first
    assert float(room.redis.hget(keys.probe_waits(SHARD), BOB) or 0) > 100_000
    second = told(room, 1, phone)
    for _ in range(PROBES):
        phone.probe()
    assert phone.got == second
    assert [each for each, _ in lost(room)] == [first]


def test_a_message_that_is_given_up_is_never_sent_later(room: Shard) -> None:
    """Although the phone could take it by then: the order would change."""
    phone = Phone(room, off("500"))
    missed = told(room, 3, phone)
    phone.status_of = fails_on({missed[0]}, "500")
    for _ in range(PROBES):
        phone.probe()
    attempts = phone.tried.count(missed[0])
    phone.status_of = off("480")
    later = told(room, 1, phone)
    phone.status_of = fails_on(())
    phone.sign()
    assert phone.tried.count(missed[0]) == attempts
    assert phone.got == [*missed[1:], *later]


def test_a_failure_that_was_not_sent_says_nothing(room: Shard) -> None:
    """The edge was busy with another message, or knew that the user was away."""
    phone = Phone(room, off("480"))
    missed = told(room, 3, phone)
    for status in ("away", "surplus", "no-target") * 3:
        phone.status_of = off(status)
        phone.sign()
    assert about(room, "refused") is None
    phone.status_of = fails_on(())
    phone.sign()
    assert phone.got == missed


def test_a_probe_that_is_an_idle_costs_no_message_its_identity(room: Shard) -> None:
    """It is an event of its own, in the form that the client reads, and at most every other probe."""
    say(room, BOB, cpim="1")
    phone = Phone(room, off("480"))
    phone.run()
    (missed,) = told(room, 1, phone)
    sent: list[Fields] = []

    def note(fields: Fields) -> str:
        sent.append(fields)
        return "480"

    phone.status_of = note
    for _ in range(7):
        phone.probe()
    assert phone.probes == [*["message"] * 3, "idle", "message", "idle", "message"]
    idle = next(fields for fields in sent if fields["event"] == "idle")
    assert (idle["from"], idle["client"], idle["since"], idle["data"]) == (ROOM, "cpim", missed, "")


@pytest.mark.parametrize("outcome", ["error", "unsendable"])
def test_a_later_message_that_was_not_sent_is_no_sign_that_the_member_is_there(
    room: Shard, outcome: str
) -> None:
    """It has ended without a response. So the first message is not given up, and arrives later."""
    phone = Phone(room, off("480"))
    missed = told(room, 3, phone)
    ended = {missed[0]: "480", missed[1]: outcome, missed[2]: "480"}
    phone.status_of = lambda fields: "200" if fields["event"] == "idle" else ended[fields["history_id"]]
    for _ in range(PROBES):
        phone.probe()
    assert missed[1] in phone.tried
    assert lost(room) == []
    assert about(room, "away") == missed[0]
    phone.status_of = fails_on(())
    phone.sign()
    assert phone.got[-3:] == missed
    assert about(room, "refused") is None


@pytest.mark.parametrize("sign", [False, True])
def test_a_member_who_is_there_is_not_removed_for_the_message_that_it_cannot_take(
    room: Shard, sign: bool
) -> None:
    """Nothing follows that message, so its position stays for days. It takes each ``idle``, or registers."""
    phone = Phone(room, off("480"))
    (missed,) = told(room, 1, phone)
    phone.status_of = fails_on({missed}, "500") if not sign else off("500")
    for _ in range(PROBES):
        phone.sign() if sign else phone.probe()
    room.redis.hset(room.keys.room(SHARD, ROOM), f"away:{BOB}", "1-1")
    room.settings["remove_after_days"] = 1
    assert room.ask("remove_absent", BOB) == []
    assert room.members()[BOB] == "member away"
    room.redis.hset(room.keys.room(SHARD, ROOM), f"sign:{BOB}", "2-1")
    room.ask("remove_absent", BOB)
    assert BOB not in room.members()


@pytest.mark.parametrize("outcome", ["error", "unsendable"])
def test_nobody_is_stuck_behind_a_later_message_that_cannot_be_sent(room: Shard, outcome: str) -> None:
    """The one behind it shows that the member is there."""
    phone = Phone(room, off("480"))
    missed = told(room, 4, phone)
    ended = {missed[0]: "480", missed[1]: outcome}
    phone.status_of = lambda fields: ended.get(fields.get("history_id", ""), "200")
    for _ in range(PROBES):
        phone.probe()
    assert [each for each, _ in lost(room)] == missed[:2]
    assert phone.got[-2:] == missed[2:]
    assert room.members()[BOB] == "member"
