"""What must hold for the phones of a room: each message once and in order, and right rosters. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.chaos.conference.roster import Entry, Roster
from tests.chaos.history import Verdict, compare
from tests.chaos.log import Kind, Received, Sent


@dataclass(slots=True)
class Stay:
    """A time in which a user was a member, by the order of the room; the marks that were said meanwhile."""

    marks: list[str] = field(default_factory=list)
    is_over: bool = False


@dataclass(frozen=True, slots=True)
class Device:
    """A device at the end. ``log`` has its messages of the room, without repeated deliveries.

    ``may_echo``: it may get its own messages, because it does not say which device it is: it was invited by
    its user's address. ``came_at`` says when each message came, and ``left_at`` when each stay of its user
    was ended.
    """

    name: str
    user: str
    is_in: bool
    log: list[str]
    may_echo: bool = False
    came_at: dict[str, float] = field(default_factory=dict)
    left_at: tuple[float, ...] = ()


def stays(order: list[Received], first: Iterable[str]) -> dict[str, list[Stay]]:
    """The stays of each user, by the log of the observer. ``first`` were members from the beginning."""
    found: dict[str, list[Stay]] = {user: [Stay()] for user in first}
    inside = {user: found[user][0] for user in found}
    for line in order:
        if line.kind is Kind.MESSAGE:
            for stay in inside.values():
                stay.marks.append(line.what)
        elif line.kind is Kind.JOINED:
            inside[line.what] = Stay()
            found.setdefault(line.what, []).append(inside[line.what])
        elif line.what in inside:
            inside.pop(line.what).is_over = True
    return found


def check_messages(
    room: str,
    order: list[Received],
    sent: list[Sent],
    *,
    first: Iterable[str],
    devices: list[Device],
    verdict: Verdict,
) -> None:
    """Each device in the room got all that was said since its user has joined, as often as its user has.

    After its user has left, it may lack the last messages: it was away, or had not accepted the invitation.
    Then some that were on their way may still come, behind a gap.
    """
    senders = {each.mark: each.sender for each in sent}
    said = {line.what for line in order if line.kind is Kind.MESSAGE}
    verdict.lost += [
        f"{room}: {each.mark} was accepted and never had its turn"
        for each in sent
        if each.accepted and each.mark not in said
    ]
    known = stays(order, first)
    for device in devices:
        own = {mark for mark, sender in senders.items() if sender == device.name}
        got = [mark for mark in device.log if not (device.may_echo and mark in own)]
        due: list[str] = []
        for number, stay in enumerate(known.get(device.user, [])):
            marks = [mark for mark in stay.marks if mark not in own]
            here = set(got).intersection(marks)
            if stay.is_over:
                until = device.left_at[number] if number < len(device.left_at) else math.inf
                in_time = {mark for mark in here if device.came_at.get(mark, 0.0) < until}
                last = max((place for place, mark in enumerate(marks, 1) if mark in in_time), default=0)
                due += marks[:last] + [mark for mark in marks[last:] if mark in here]
            elif device.is_in:
                due += marks
        compare(room, device.name, due, got, verdict)


def check_roster(roster: Roster, users: dict[str, Entry], subject: str, findings: list[str]) -> None:
    """At the end, the roster equals the room's members in Redis."""
    findings += roster.findings
    if roster.subject != subject:
        findings.append(f"the roster of {roster.owner} has the subject {roster.subject!r}, not {subject!r}")
    for user in sorted(users.keys() | roster.users.keys()):
        has, is_so = roster.users.get(user), users.get(user)
        if has != is_so:
            findings.append(f"the roster of {roster.owner} has {user} as {has}, not {is_so}")
