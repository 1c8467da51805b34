"""What the rows of ``imc_rooms`` and ``imc_members`` mean. Pure: rows in, rooms and refusals out.

The flags are those of both modules' sources: a room has bit 1 private, 2 deleted; a member has bit 1 owner,
2 admin, 4 invited, 8 deleted, 16 left out of the current fan-out (of no meaning in a table).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from imc_common.address import AddressError, canonical, parse, parse_host, parse_user

ROOM_PRIVATE = 1
ROOM_DELETED = 2
MEMBER_OWNER = 1
MEMBER_ADMIN = 2
MEMBER_INVITED = 4
MEMBER_DELETED = 8
MEMBER_SKIPPED = 16
_ROOM_FLAGS = ROOM_PRIVATE | ROOM_DELETED
_MEMBER_FLAGS = MEMBER_OWNER | MEMBER_ADMIN | MEMBER_INVITED | MEMBER_DELETED | MEMBER_SKIPPED


@dataclass(frozen=True, slots=True)
class RoomRow:
    """A row of ``imc_rooms``."""

    name: str
    domain: str
    flag: int


@dataclass(frozen=True, slots=True)
class MemberRow:
    """A row of ``imc_members``; ``room`` is the room's URI."""

    username: str
    domain: str
    room: str
    flag: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that was not taken, and why."""

    row: RoomRow | MemberRow
    why: str

    def __str__(self) -> str:
        if isinstance(self.row, RoomRow):
            return f"room {self.row.name}@{self.row.domain}: {self.why}"
        return f"member {self.row.username}@{self.row.domain} of {self.row.room}: {self.why}"


@dataclass(slots=True)
class Room:
    """A room as imc keeps it: ``members`` is address to role, invited ones with the role ``invited``."""

    address: str
    private: bool
    members: dict[str, str] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        """Its first owner; empty if it has none."""
        return next((address for address, role in self.members.items() if role == "owner"), "")


def rooms_of(
    rooms: Iterable[RoomRow], members: Iterable[MemberRow], refusals: list[Refusal]
) -> Iterator[Room]:
    """The rooms that the rows describe; every row that is not taken is added to ``refusals``."""
    taken: dict[str, Room] = {}
    for row in rooms:
        room = _room(row, taken, refusals)
        if room is not None:
            taken[room.address] = room
    for member in members:
        _add_member(member, taken, refusals)
    for room in taken.values():
        if room.owner:
            yield room
        else:
            user, _, host = room.address.partition("@")
            flag = ROOM_PRIVATE if room.private else 0
            refusals.append(Refusal(RoomRow(user, host, flag), "it has no owner among its members"))


def _room(row: RoomRow, taken: dict[str, Room], refusals: list[Refusal]) -> Room | None:
    why = ""
    address = ""
    try:
        address = canonical(parse_user(row.name), parse_host(row.domain))
    except AddressError as error:
        why = f"not an address: {error}"
    else:
        if row.flag & ROOM_DELETED:
            why = "marked as deleted"
        elif row.flag & ~_ROOM_FLAGS:
            why = f"unknown flag {row.flag}"
        elif address in taken:
            why = "a room with this address was taken before"
    if why:
        refusals.append(Refusal(row, why))
        return None
    return Room(address, private=bool(row.flag & ROOM_PRIVATE))


def _add_member(row: MemberRow, taken: dict[str, Room], refusals: list[Refusal]) -> None:
    try:
        room = taken.get(parse(row.room))
        address = canonical(parse_user(row.username), parse_host(row.domain))
    except AddressError as error:
        refusals.append(Refusal(row, f"not an address: {error}"))
        return
    why = ""
    if row.flag & MEMBER_DELETED:
        why = "marked as deleted"
    elif row.flag & ~_MEMBER_FLAGS:
        why = f"unknown flag {row.flag}"
    elif room is None:
        why = "its room was not taken"
    elif address in room.members:
        why = "in this room already"
    elif address == room.address:
        why = "a room cannot be a member of itself"
    if why or room is None:
        refusals.append(Refusal(row, why))
    else:
        room.members[address] = role_of(row.flag)


def role_of(flag: int) -> str:
    """The role that a member's flag means; the highest, should there be several bits."""
    if flag & MEMBER_OWNER:
        return "owner"
    if flag & MEMBER_ADMIN:
        return "admin"
    return "invited" if flag & MEMBER_INVITED else "member"


def flag_of(role: str) -> int:
    """The member flag of a role."""
    return {"owner": MEMBER_OWNER, "admin": MEMBER_ADMIN, "invited": MEMBER_INVITED}.get(role, 0)


def room_row(room: Room) -> RoomRow:
    """The row of a room."""
    user, _, host = room.address.partition("@")
    return RoomRow(user, host, ROOM_PRIVATE if room.private else 0)


def member_rows(room: Room) -> list[MemberRow]:
    """The rows of a room's members, in the order of their addresses."""
    rows = []
    for address, role in sorted(room.members.items()):
        user, _, host = address.partition("@")
        rows.append(MemberRow(user, host, f"sip:{room.address}", flag_of(role)))
    return rows
