"""Conversion and refusal of the rows of the OpenSIPS and Kamailio tables.

tests/integration/migration covers dump.py, load.py and tables.py of imc_cli/migration, and migrate.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imc_cli.migration.rows import (
    MemberRow,
    Refusal,
    Room,
    RoomRow,
    collisions,
    flag_of,
    member_rows,
    role_of_flag,
    room_row,
    rooms_of,
)

OWNED = MemberRow("alice", "example.org", "sip:lobby@example.org", 1)


def read(rooms: list[RoomRow], members: list[MemberRow]) -> tuple[list[Room], list[str]]:
    refusals: list[Refusal] = []
    accepted = list(rooms_of(rooms, members, refusals))
    return accepted, [str(refusal) for refusal in refusals]


def test_a_room_with_members_of_every_role_is_imported() -> None:
    """Bits 1, 2 and 4 of a member's flag are owner, admin and invited; 16 has no meaning in a table."""
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
        (RoomRow("", "example.org", 0), "room @example.org: invalid address: the user part is empty"),
    ],
)
def test_an_invalid_room_row_is_refused_with_the_reason(row: RoomRow, why: str) -> None:
    """No row is dropped silently."""
    rooms, refusals = read([row], [])
    assert (rooms, refusals) == ([], [why])


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (MemberRow("bob", "example.org", "sip:lobby@example.org", 8), "marked as deleted"),
        (MemberRow("bob", "example.org", "sip:lobby@example.org", 32), "unknown flag 32"),
        (
            MemberRow("bob", "example.org", "sip:attic@example.org", 0),
            "its room was refused or does not exist",
        ),
        (MemberRow("alice", "example.org", "sip:lobby@example.org", 0), "already a member of this room"),
        (
            MemberRow("lobby", "example.org", "sip:lobby@example.org", 0),
            "a room cannot be a member of itself",
        ),
        (MemberRow("bob", "example.org", "lobby", 0), "invalid address: it has no @"),
    ],
)
def test_an_invalid_member_row_is_refused_with_the_reason(row: MemberRow, why: str) -> None:
    """The room is imported."""
    [room], refusals = read([RoomRow("lobby", "example.org", 0)], [OWNED, row])
    assert room.members == {"alice@example.org": "owner"}
    assert refusals == [f"member {row.username}@{row.domain} of {row.room}: {why}"]


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (None, "is NULL"),
        ("flag", "'x' is not a whole number"),
        ("bytes", "is not a text"),
        ("number", "is not a text"),
    ],
)
@pytest.mark.parametrize("column", ["name", "username", "domain", "room", "flag"])
def test_a_row_with_a_broken_column_is_refused(column: str, broken: str | None, why: str) -> None:
    """In every column of both tables; the other rows are imported."""
    is_flag = column == "flag"
    value: Any = {"flag": "x", "bytes": b"x", "number": 7}.get(broken or "")
    if broken and is_flag != (broken == "flag"):
        return
    room, member = RoomRow("attic", "example.org", 0), MemberRow("bob", "example.org", OWNED.room, 0)
    bad_rooms = [replace(room, **{column: value})] if column in {"name", "domain", "flag"} else []
    bad_members = [replace(member, **{column: value})] if column != "name" else []
    rooms, refusals = read([RoomRow("lobby", "example.org", 0), *bad_rooms], [OWNED, *bad_members])
    assert [room.address for room in rooms] == ["lobby@example.org"]
    assert len(refusals) == len(bad_rooms) + len(bad_members)
    assert all(f"{column} " in refusal and why in refusal for refusal in refusals)


def test_addresses_that_differ_only_in_case_are_reported() -> None:
    """Rooms and members; with `case_sensitive_users` off they are the same."""
    rows = [RoomRow("Lobby", "example.org", 0), RoomRow("lobby", "example.org", 0)]
    upper = MemberRow("Alice", "example.org", "sip:Lobby@example.org", 1)
    rooms, refusals = read(rows, [OWNED, upper])
    assert refusals == []
    assert collisions(rooms) == [
        ("Alice@example.org", "alice@example.org"),
        ("Lobby@example.org", "lobby@example.org"),
    ]
    found: list[Refusal] = []
    [room] = rooms_of(rows, [upper, OWNED], found, ignores_case=True)
    assert (room.address, room.members) == ("lobby@example.org", {"alice@example.org": "owner"})
    assert [refusal.why for refusal in found] == [
        "another row has the same address",
        "already a member of this room",
    ]


def test_a_repeated_room_is_imported_once() -> None:
    """Hosts that differ only in case are the same."""
    rows = [RoomRow("lobby", "example.org", 0), RoomRow("lobby", "EXAMPLE.org", 0)]
    rooms, refusals = read(rows, [OWNED])
    assert len(rooms) == 1
    assert refusals == ["room lobby@EXAMPLE.org: another row has the same address"]


def test_a_room_without_an_owner_is_refused() -> None:
    """It could not be administered."""
    rooms, refusals = read([RoomRow("lobby", "example.org", 1)], [])
    assert (rooms, refusals) == ([], ["room lobby@example.org: it has no owner"])


@given(st.sampled_from(["owner", "admin", "member", "invited"]))
def test_roles_are_converted_to_flags_and_back(role: str) -> None:
    """Export and import agree."""
    assert role_of_flag(flag_of(role)) == role


def test_exported_rows_are_imported_as_the_same_room() -> None:
    """Import reads what export writes."""
    room = Room("lobby@example.org", True, {"alice@example.org": "owner", "bob@192.0.2.1:5070": "invited"})
    rooms, refusals = read([room_row(room)], member_rows(room))
    assert (rooms, refusals) == ([room], [])
