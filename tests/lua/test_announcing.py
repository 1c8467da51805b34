"""set_announce and announce_joins: who is told of joins and leaves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.lua.shard import ALICE, BOB, CAROL, DAVE, Heard, Shard, heard, refused, told_all

EVE = "eve@example.org"


@pytest.fixture
def room(shard: Shard) -> Shard:
    """Alice owns the public room, Bob is admin, Carol member, Dave invited."""
    shard.ask("create", ALICE)
    shard.ask("add", ALICE, user=BOB)
    shard.ask("modify", ALICE, user=BOB, role="admin")
    shard.ask("add", ALICE, user=CAROL)
    shard.ask("invite", ALICE, user=DAVE)
    return shard


MOVES: dict[str, tuple[Callable[[Shard], list[Heard]], list[str]]] = {
    "join": (lambda shard: shard.ask("join", EVE), [EVE]),
    "create": (lambda shard: shard.ask("create", EVE), [EVE]),
    "accept": (lambda shard: shard.ask("accept", DAVE), [DAVE]),
    "add": (lambda shard: shard.ask("add", ALICE, user=EVE), [EVE, ALICE]),
    "exit": (lambda shard: shard.ask("exit", CAROL), [CAROL]),
    "away for too long": (lambda shard: shard.time_out(CAROL), [CAROL]),
}
moves = pytest.mark.parametrize(("move", "concerned"), MOVES.values(), ids=MOVES.keys())


@moves
def test_in_a_quiet_room_only_those_concerned_are_told_of_joins_and_leaves(
    room: Shard, move: Callable[[Shard], list[Heard]], concerned: list[str]
) -> None:
    """Whoever comes, goes, or adds somebody; the membership changes all the same."""
    before = room.members()
    room.ask("announce", ALICE, text="off")
    assert [event.to for event in move(room)] == [(one,) for one in concerned]
    assert room.members() != before


@moves
def test_the_operators_setting_is_for_rooms_that_say_nothing_else(
    room: Shard, move: Callable[[Shard], list[Heard]], concerned: list[str]
) -> None:
    """announce_joins = false makes rooms quiet; `announce on` makes one loud."""
    room.settings["announce_joins"] = False
    room.ask("announce", BOB, text="on")
    events = move(room)
    assert [event.to for event in events[:-1]] == [(one,) for one in concerned]
    assert set(events[-1].to) >= {ALICE, BOB} - set(concerned)


@moves
def test_without_a_word_from_the_room_the_setting_holds(
    room: Shard, move: Callable[[Shard], list[Heard]], concerned: list[str]
) -> None:
    """For all rooms, those that exist already too."""
    room.settings["announce_joins"] = False
    assert [event.to for event in move(room)] == [(one,) for one in concerned]


def test_what_owners_and_admins_do_is_told_in_a_quiet_room(room: Shard) -> None:
    """Removals, bans, roles and the end of the room are no mere coming and going."""
    room.ask("announce", ALICE, text="off")
    everybody = (ALICE, BOB, CAROL)
    role = {"user": CAROL, "role": "admin"}
    assert room.ask("modify", ALICE, **role) == told_all("role_changed", *everybody, by=ALICE, **role)
    assert room.ask("remove", ALICE, user=CAROL)[1:] == told_all(
        "removed", ALICE, BOB, by=ALICE, user=CAROL, role="admin"
    )
    assert room.ask("destroy", ALICE) == told_all("destroyed", ALICE, BOB, by=ALICE)


def test_owners_and_admins_are_told_of_the_change(room: Shard) -> None:
    """And only they may make it."""
    for word in ("off", "on"):
        assert room.ask("announce", BOB, text=word) == told_all(
            "announce_set", BOB, ALICE, by=BOB, detail=word
        )
    assert room.ask("announce", CAROL, text="off") == refused(CAROL, "admins_only", "announce", detail="off")
    assert room.ask("announce", EVE, text="off") == refused(EVE, "not_member", "announce", detail="off")
    assert heard("joined", ALICE, BOB, CAROL, by=EVE) in room.ask("join", EVE)
