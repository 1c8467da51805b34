"""What is withheld from a recipient that was away, and what counts as arrived; no delivery is involved."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imc_common.rooms.event import MORE, PART, PROBE, Event
from imc_edge.delivering.absence import KNOWN_SECONDS, MAX_ROOMS, Absence, parse

ROOM, OTHER = "chat-000@example.org", "chat-001@example.org"


def message(position: str, catch_up: str = "", *, room: str = ROOM, wait: int = 0) -> Event:
    """A stored message, live or from the history."""
    history_id = position if catch_up else ""
    return Event(
        position, 3, "message", room, ("bob@h",), history_id=history_id, catch_up=catch_up, wait=wait
    )


def test_positions_compare_as_redis_compares_ids() -> None:
    """As numbers, not as texts."""
    assert parse("9-5") < parse("10-0") < parse("10-2") < parse("10-11")


def test_after_a_failure_every_live_message_of_every_room_is_withheld() -> None:
    """For as long as anything is known."""
    absence = Absence()
    absence.failed(message("5-0"), 100.0, sent=True)
    for room in (ROOM, OTHER):
        assert absence.withholds(message("6-0", room=room), 100.0 + KNOWN_SECONDS - 1)
        assert not absence.withholds(message("6-0", room=room), 100.0 + KNOWN_SECONDS)


def test_after_a_sign_only_rooms_with_a_failure_are_closed() -> None:
    """There the history comes first."""
    absence = Absence()
    absence.failed(message("5-0"), 100.0, sent=True)
    absence.is_back()
    assert absence.withholds(message("6-0"), 101.0)
    assert not absence.withholds(message("6-0", room=OTHER), 101.0)


@pytest.mark.parametrize("first", [PART, MORE])
def test_the_history_opens_a_room_from_the_failed_message_on(first: str) -> None:
    """What was handed out before the failure stays withheld: it would overtake."""
    absence = Absence()
    absence.failed(message("5-0"), 100.0, sent=True)
    absence.is_back()
    assert absence.withholds(message("6-0", PART), 101.0)
    assert not absence.withholds(message("5-0", first), 101.0)
    assert not absence.withholds(message("6-0", PART), 101.0)
    assert not absence.withholds(message("7-0"), 101.0)


@pytest.mark.parametrize(("kind", "wait"), [(PART, 0), (MORE, 0), (PROBE, 2000)])
def test_what_failed_before_a_member_left_and_joined_again_does_not_count(kind: str, wait: int) -> None:
    """Nothing hands that out. What failed since it has joined comes first, as always."""
    absence = Absence()
    absence.failed(message("5-0"), 100.0, sent=True)
    absence.is_back()
    after = message("8-0", kind, wait=wait)
    assert absence.withholds(message("7-0"), 105.0)
    assert absence.withholds(replace(after, since="7-0", joined="5-0"), 105.0)
    assert not absence.withholds(replace(after, since="7-0", joined="6-0"), 105.0)
    assert not absence.withholds(message("9-0"), 105.0)


def test_a_failure_is_remembered_for_longer_where_workers_are_behind() -> None:
    """From then on anew; in other rooms nothing changes, and what is forgotten stays so."""
    absence = Absence()
    for room in (ROOM, OTHER):
        absence.failed(message("5-0", room=room), 100.0, sent=True)
    absence.is_back()
    almost = 100.0 + KNOWN_SECONDS - 1
    absence.prolong(almost, lambda room: room == ROOM)
    assert absence.known_until == almost + KNOWN_SECONDS
    later = almost + KNOWN_SECONDS - 1
    assert absence.withholds(message("6-0"), later)
    assert not absence.withholds(message("6-0", room=OTHER), later)
    absence.prolong(later + 2, lambda room: True)
    assert not absence.withholds(message("6-0"), later + 2)


def test_a_part_opens_a_room_also_if_what_failed_is_not_sent_any_more() -> None:
    """It has expired, or too much was missed."""
    absence = Absence()
    absence.failed(message("5-0"), 100.0, sent=True)
    absence.is_back()
    assert absence.withholds(replace(message("8-0", PART), since="6-0"), 101.0)
    assert not absence.withholds(replace(message("8-0", PART), since="5-0"), 101.0)


def test_the_first_of_several_failures_counts() -> None:
    """In whatever order they are noted."""
    absence = Absence()
    for position in ("7-0", "5-0", "6-0"):
        absence.failed(message(position), 100.0, sent=True)
    absence.is_back()
    assert absence.withholds(message("6-0", PART), 101.0)


def test_what_is_withheld_prolongs_nothing() -> None:
    """Or a member whom no worker marks would get nothing for as long as others speak."""
    absence = Absence()
    absence.failed(message("5-0"), 100.0, sent=True)
    absence.failed(message("6-0"), 150.0, sent=False)
    assert absence.known_until == 100.0 + KNOWN_SECONDS
    assert not absence.withholds(message("7-0"), 100.0 + KNOWN_SECONDS)


def test_a_failure_of_long_ago_does_not_count_with_a_new_one() -> None:
    """What was missed then may have been handed out by another edge: the history starts at the new one."""
    absence = Absence()
    absence.failed(message("5-0"), 100.0, sent=True)
    absence.failed(message("9-0", room=OTHER), 150.0, sent=True)
    absence.failed(message("8-0"), 100.0 + KNOWN_SECONDS, sent=False)
    absence.is_back()
    assert not absence.withholds(message("8-0", PART), 101.0 + KNOWN_SECONDS)


def test_a_surplus_closes_its_room_only() -> None:
    """The recipient may be there: other deliveries wait for it."""
    absence = Absence()
    absence.failed(message("5-0"), 100.0, sent=False)
    assert absence.withholds(message("6-0"), 101.0)
    assert not absence.withholds(message("6-0", room=OTHER), 101.0)


def test_a_probe_goes_out_unless_another_delivery_has_just_failed() -> None:
    """Half of its own interval ago, or less: one probe per user, whatever number of shards send them."""
    absence = Absence()
    absence.failed(message("5-0"), 100.0, sent=True)
    assert absence.withholds(message("5-0", PROBE, wait=4000), 101.9)
    assert not absence.withholds(message("5-0", PROBE, wait=4000), 102.0)


def test_a_delivered_probe_opens_its_room() -> None:
    """The history goes on behind it."""
    absence = Absence()
    absence.failed(message("5-0"), 100.0, sent=True)
    absence.arrived(message("5-0", PROBE), 103.0)
    assert not absence.withholds(message("6-0", PART), 103.0)
    assert absence.has_arrived(message("5-0", PART))
    assert not absence.has_arrived(message("6-0", PART))


def test_a_probe_counts_only_from_where_it_says_on() -> None:
    """The worker did not know of an earlier failure when it sent it; that one is still to be handed out."""
    absence = Absence()
    absence.arrived(replace(message("8-0", PROBE), since="7-0"), 100.0)
    assert absence.has_arrived(message("7-0", PART))
    assert not absence.has_arrived(message("5-0", PART))
    absence.failed_before(ROOM, (5, 0), 100.0)
    absence.arrived(message("9-0", PART), 100.0)
    assert absence.withholds(message("10-0"), 100.0)


@pytest.mark.parametrize(
    ("first", "since", "counts"), [(MORE, "6-0", True), (PART, "6-0", False), (PROBE, "5-1", True)]
)
def test_what_arrived_before_counts_unless_there_may_be_a_gap(first: str, since: str, counts: bool) -> None:
    """The next part begins right behind the last one, and what follows a probe right behind that."""
    absence = Absence()
    absence.arrived(message("5-0", first), 100.0)
    absence.arrived(replace(message("7-0", PART), since=since), 100.0)
    assert absence.has_arrived(message("5-0", PART)) is counts
    assert absence.has_arrived(message("6-0", PART))


def test_a_message_before_the_failed_one_does_not_open_the_room() -> None:
    """A new owner gets the rest of a part in whose middle a message failed."""
    absence = Absence()
    absence.failed_before(ROOM, (5, 0), 100.0)
    assert not absence.withholds(message("4-0", PART), 100.0)
    assert absence.withholds(message("6-0", PART), 100.0)
    assert absence.withholds(message("7-0"), 100.0)
    assert not absence.withholds(message("5-0", PART), 100.0)
    assert not absence.withholds(message("7-0"), 100.0)


def test_an_earlier_message_that_was_not_sent_counts_as_the_first_failure() -> None:
    """The history has to begin with that one."""
    absence = Absence()
    absence.failed(message("5-0"), 100.0, sent=False)
    absence.failed(message("4-0", PART), 100.0, sent=False)
    assert absence.withholds(replace(message("5-0", PART), since="5-0"), 100.0)
    assert not absence.withholds(replace(message("4-0", PART), since="4-0"), 100.0)


def test_what_arrived_counts_for_its_room() -> None:
    """Positions of two rooms say nothing about each other."""
    absence = Absence()
    absence.arrived(message("5-0", PART), 100.0)
    assert not absence.has_arrived(message("4-0", PART, room=OTHER))


def test_what_a_device_refuses_since_it_does_not_know_the_room_has_not_arrived() -> None:
    """It is invited again, and then gets all anew. Other rooms are not concerned."""
    absence = Absence()
    for room in (ROOM, OTHER):
        absence.arrived(message("5-0", PART, room=room), 100.0)
    absence.forget_arrivals(ROOM)
    absence.forget_arrivals("chat-003@example.org")
    assert not absence.has_arrived(message("5-0", PART))
    assert absence.has_arrived(message("5-0", PART, room=OTHER))


def test_a_live_message_is_never_taken_for_one_that_arrived() -> None:
    """Only what comes from the history may come twice."""
    absence = Absence()
    absence.arrived(message("5-0"), 100.0)
    assert absence.rooms == {}


def test_a_user_that_leaves_gets_nothing_until_a_sign() -> None:
    """Nothing has failed, so nothing else is closed afterwards."""
    absence = Absence()
    absence.left(100.0)
    assert absence.withholds(message("5-0"), 101.0)
    absence.is_back()
    assert not absence.withholds(message("5-0"), 101.0)


def test_the_rooms_of_one_recipient_are_bounded() -> None:
    """The one that was changed longest ago is forgotten."""
    absence = Absence()
    for number in range(MAX_ROOMS + 1):
        absence.failed(message("5-0", room=f"room{number}@h"), 100.0, sent=True)
    absence.is_back()
    assert len(absence.rooms) == MAX_ROOMS
    assert not absence.withholds(message("6-0", room="room0@h"), 101.0)
    assert absence.withholds(message("6-0", room=f"room{MAX_ROOMS}@h"), 101.0)
