"""Converts rows of ``imc_rooms`` and ``imc_members`` to rooms, and back.

The flags are those in the sources of both modules. Room: 1 private, 2 deleted. Member: 1 owner, 2 admin, 4
invited, 8 deleted, 16 skipped in the current fan-out (without meaning in a table).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field

from imc_common.address import AddressError, of, parse, parse_host, parse_user, without_case

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
    """A refused row and the reason."""

    row: RoomRow | MemberRow
    why: str

    def __str__(self) -> str:
        if isinstance(self.row, RoomRow):
            return f"room {self.row.name}@{self.row.domain}: {self.why}"
        return f"member {self.row.username}@{self.row.domain} of {self.row.room}: {self.why}"


@dataclass(slots=True)
class Room:
    """A room of imc. ``members``: address to role; invited users have the role ``invited``."""

    address: str
    private: bool
    members: dict[str, str] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        """Its first owner; empty if it has none."""
        return next((address for address, role in self.members.items() if role == "owner"), "")


def rooms_of(
    rooms: Iterable[RoomRow],
    members: Iterable[MemberRow],
    refusals: list[Refusal],
    *,
    ignores_case: bool = False,
) -> Iterator[Room]:
    """The rooms in these rows. Each refused row is added to ``refusals``.

    ``ignores_case``: users and rooms that differ only in case are the same (`case_sensitive_users`).
    """
    accepted: dict[str, Room] = {}
    for row in rooms:
        room = _room(row, accepted, refusals, ignores_case)
        if room is not None:
            accepted[room.address] = room
    for member in members:
        _add_member(member, accepted, refusals, ignores_case)
    for room in accepted.values():
        if room.owner:
            yield room
        else:
            user, _, host = room.address.partition("@")
            flag = ROOM_PRIVATE if room.private else 0
            refusals.append(Refusal(RoomRow(user, host, flag), "it has no owner"))


def collisions(rooms: Iterable[Room]) -> list[tuple[str, ...]]:
    """Addresses of rooms or members that differ only in case: to the old modules they are the same."""
    spellings: dict[str, set[str]] = {}
    for room in rooms:
        for address in (room.address, *room.members):
            spellings.setdefault(without_case(address), set()).add(address)
    return [tuple(sorted(each)) for _, each in sorted(spellings.items()) if len(each) > 1]


def _room(
    row: RoomRow, accepted: dict[str, Room], refusals: list[Refusal], ignores_case: bool
) -> Room | None:
    why, address = _broken_column(row), ""
    if not why:
        try:
            address = _address(row.name, row.domain, ignores_case)
        except AddressError as error:
            why = f"invalid address: {error}"
        else:
            if row.flag & ROOM_DELETED:
                why = "marked as deleted"
            elif row.flag & ~_ROOM_FLAGS:
                why = f"unknown flag {row.flag}"
            elif address in accepted:
                why = "another row has the same address"
    if why:
        refusals.append(Refusal(row, why))
        return None
    return Room(address, private=bool(row.flag & ROOM_PRIVATE))


def _add_member(
    row: MemberRow, accepted: dict[str, Room], refusals: list[Refusal], ignores_case: bool
) -> None:
    why = _broken_column(row)
    if why:
        refusals.append(Refusal(row, why))
        return
    try:
        room_address = parse(row.room)
        room = accepted.get(without_case(room_address) if ignores_case else room_address)
        address = _address(row.username, row.domain, ignores_case)
    except AddressError as error:
        refusals.append(Refusal(row, f"invalid address: {error}"))
        return
    if row.flag & MEMBER_DELETED:
        why = "marked as deleted"
    elif row.flag & ~_MEMBER_FLAGS:
        why = f"unknown flag {row.flag}"
    elif room is None:
        why = "its room was refused or does not exist"
    elif address in room.members:
        why = "already a member of this room"
    elif address == room.address:
        why = "a room cannot be a member of itself"
    if why or room is None:
        refusals.append(Refusal(row, why))
    else:
        room.members[address] = role_of_flag(row.flag)


def _broken_column(row: RoomRow | MemberRow) -> str:
    """What is wrong with the type of a column; empty if nothing is. SQLite checks no types."""
    for name, value in asdict(row).items():
        if value is None:
            return f"{name} is NULL"
        if name == "flag":
            if not isinstance(value, int):
                return f"flag {value!r} is not a whole number"
        elif not isinstance(value, str):
            return f"{name} {value!r} is not a text"
    return ""


def _address(user: str, host: str, ignores_case: bool) -> str:
    address = of(parse_user(user), parse_host(host))
    return without_case(address) if ignores_case else address


def role_of_flag(flag: int) -> str:
    """The role for a member's flag; the highest if several bits are set."""
    if flag & MEMBER_OWNER:
        return "owner"
    if flag & MEMBER_ADMIN:
        return "admin"
    return "invited" if flag & MEMBER_INVITED else "member"


def flag_of(role: str) -> int:
    """The member flag for a role."""
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
