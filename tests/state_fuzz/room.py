"""What the rules of rooms are about: requests, rooms, and who is told what."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Ask:
    """One request, with canonical addresses. `operator`: it came by MI."""

    kind: str
    sender: str
    room: str
    user: str = ""
    role: str = ""
    text: str = ""
    private: bool = False
    operator: bool = False


class Notice(NamedTuple):
    """One user hears of one event. A refusal has all `reasons` that are right; other events have none."""

    event: str
    to: str
    by: str
    more: dict[str, str]
    reasons: frozenset[str] = frozenset()


@dataclass
class Room:
    """One room."""

    private: bool
    created_by: str
    roles: dict[str, str]
    invited: dict[str, object] = field(default_factory=dict)
    """Invited user to the request that invited."""
    bans: set[str] = field(default_factory=set)
    nicknames: dict[str, str] = field(default_factory=dict)
    joined: dict[str, bool] = field(default_factory=dict)
    """Members who came in; who created the room was always there."""
    topic: str = ""
    announce: bool | None = None

    def owners(self) -> list[str]:
        """Addresses of the owners."""
        return [user for user, role in self.roles.items() if role == "owner"]

    def in_charge(self) -> list[str]:
        """Owners and admins."""
        return [user for user, role in self.roles.items() if role != "member"]

    def is_in(self, user: str) -> bool:
        """Whether the user is a member or invited."""
        return user in self.roles or user in self.invited

    def forget(self, user: str) -> None:
        """The user is neither member nor invited any more: all that is kept of them ends, but a ban."""
        kept: tuple[dict[str, Any], ...] = (self.roles, self.invited, self.nicknames, self.joined)
        for one in kept:
            one.pop(user, None)


class RefusedError(Exception):
    """The request is refused; `args[0]` are the reasons."""


def without_port(address: str) -> str:
    """The user at whatever port."""
    return re.sub(r":\d+$", "", address)


def refuse_if(**reasons: object) -> None:
    """Raise RefusedError with the names of those that hold, if any does."""
    found = frozenset(reason for reason, holds in reasons.items() if holds)
    if found:
        raise RefusedError(found)


def all_members(room: Room, ask: Ask) -> list[str]:
    """All members, and the sender; an operator is no user of the room."""
    return list(room.roles) if ask.operator else list(dict.fromkeys([ask.sender, *room.roles]))


def notice(event: str, to: str, ask: Ask, reasons: frozenset[str] = frozenset(), /, **more: str) -> Notice:
    """What `to` hears of a request. `more` are further fields; empty ones are left out as in the stream."""
    may_be_empty = ("detail",) if event == "nickname_set" else ("list",)
    kept = {name: value for name, value in more.items() if value or name in may_be_empty}
    return Notice(event, to, ask.sender, kept, reasons)


def notices(event: str, to: Iterable[str], ask: Ask, /, **more: str) -> list[Notice]:
    """What each of these users hears of a request. Operators are no users of a room and hear nothing."""
    told = dict.fromkeys(who for who in to if not (ask.operator and who == ask.sender))
    return [notice(event, who, ask, **more) for who in told]
