"""Rows of the old modules' tables: what they mean, and which are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imc_cli.migration.rows import (
    MemberRow,
    Refusal,
    Room,
    RoomRow,
    flag_of,
    member_rows,
    role_of,
    room_row,
    rooms_of,
)

OWNED = MemberRow("alice", "example.org", "sip:lobby@example.org", 1)


def read(rooms: list[RoomRow], members: list[MemberRow]) -> tuple[list[Room], list[str]]:
    refusals: list[Refusal] = []
    taken = list(rooms_of(rooms, members, refusals))
    return taken, [str(refusal) for refusal in refusals]


def test_a_room_with_members_of_every_role_is_read() -> None:
    """Bits 1, 2 and 4 of a member's flag are owner, admin and invited; 16 means nothing in a table."""
    members = [
        OWNED,
        MemberRow("bob", "Example.ORG", "sip:lobby@example.org", 2),
        MemberRow("carol", "example.org", "sip:lobby@EXAMPLE.org", 4),
        MemberRow("dave", "example.org", "sip:lobby@example.org", 16),
    ]
    [room], refusals = read([RoomRow("lobby", "example.org", 1)], members)
    assert refusals == []
    assert (room.address, room.private, room.owner) == ("lobby@example.org", True, "alice@example.org")
    assert room.members == {
        "alice@example.org": "owner",
        "bob@example.org": "admin",
        "carol@example.org": "invited",
        "dave@example.org": "member",
    }


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (RoomRow("lobby", "example.org", 2), "room lobby@example.org: marked as deleted"),
        (RoomRow("lobby", "example.org", 64), "room lobby@example.org: unknown flag 64"),
        (RoomRow("", "example.org", 0), "room @example.org: not an address: the user part is empty"),
    ],
)
def test_a_room_row_that_makes_no_room_is_refused_with_the_reason(row: RoomRow, why: str) -> None:
    """Nothing is left out silently."""
    rooms, refusals = read([row], [])
    assert (rooms, refusals) == ([], [why])


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (MemberRow("bob", "example.org", "sip:lobby@example.org", 8), "marked as deleted"),
        (MemberRow("bob", "example.org", "sip:lobby@example.org", 32), "unknown flag 32"),
        (MemberRow("bob", "example.org", "sip:attic@example.org", 0), "its room was not taken"),
        (MemberRow("alice", "example.org", "sip:lobby@example.org", 0), "in this room already"),
        (
            MemberRow("lobby", "example.org", "sip:lobby@example.org", 0),
            "a room cannot be a member of itself",
        ),
        (MemberRow("bob", "example.org", "lobby", 0), "not an address: there is no @ in it"),
    ],
)
def test_a_member_row_that_makes_no_member_is_refused_with_the_reason(row: MemberRow, why: str) -> None:
    """The room itself is taken all the same."""
    [room], refusals = read([RoomRow("lobby", "example.org", 0)], [OWNED, row])
    assert room.members == {"alice@example.org": "owner"}
    assert refusals == [f"member {row.username}@{row.domain} of {row.room}: {why}"]


def test_a_room_that_stands_twice_is_taken_once() -> None:
    """Hosts differ only in case: one room."""
    rows = [RoomRow("lobby", "example.org", 0), RoomRow("lobby", "EXAMPLE.org", 0)]
    rooms, refusals = read(rows, [OWNED])
    assert len(rooms) == 1
    assert refusals == ["room lobby@EXAMPLE.org: a room with this address was taken before"]


def test_a_room_without_an_owner_is_refused() -> None:
    """Nobody could ever destroy it."""
    rooms, refusals = read([RoomRow("lobby", "example.org", 1)], [])
    assert (rooms, refusals) == ([], ["room lobby@example.org: it has no owner among its members"])


@given(st.sampled_from(["owner", "admin", "member", "invited"]))
def test_roles_survive_the_way_into_a_flag_and_back(role: str) -> None:
    """Export and import agree."""
    assert role_of(flag_of(role)) == role


def test_written_rows_read_back_as_the_same_room() -> None:
    """What export writes, import reads."""
    room = Room("lobby@example.org", True, {"alice@example.org": "owner", "bob@example.org:5070": "invited"})
    rooms, refusals = read([room_row(room)], member_rows(room))
    assert (rooms, refusals) == ([room], [])
