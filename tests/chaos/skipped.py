"""What catch-ups left out, by the numbers that users were told. Pure: no sockets, no clock.

A member who was away for long gets the latest messages only. It is told how many it has missed in this and in
earlier absences. No more than this number is excused. The number may be larger than what is missing: if the
response to a message was lost, or an edge died before it could say so, nobody knows that the member got it.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise, takewhile

from tests.chaos.log import Kind, Received, Sent


@dataclass(frozen=True, slots=True)
class Order:
    """The order of a room. ``skipped`` are the messages that its observer did not get."""

    lines: list[Received]
    skipped: set[str]


def excused(user: str, log: list[Received], due: list[str], got: set[str]) -> tuple[set[str], int]:
    """What this user missed and was told the number of, and how many it was told of and got.

    These are so many due messages before the next one that it got.
    """
    places, found, more = {mark: place for place, mark in enumerate(due)}, set[str](), 0
    known = [line for line in log if line.kind is not Kind.MESSAGE or line.what in places]
    for number, mark in _numbers(user, known):
        missing = list(takewhile(lambda each: each not in got, reversed(due[: places[mark]])))
        found.update(missing[:number])
        more += max(0, number - len(missing))
    return found, more


def with_skipped(
    observer: str, log: list[Received], others: Iterable[list[Received]], sent: list[Sent]
) -> Order:
    """The order of a room by the log of its observer, also where the observer did not get everything.

    There, as many messages are added as the observer was told: those that other members got, and the earliest
    that were accepted. If others got more, none is added, so that these are found to be lost.
    """
    order, holes = _holes(observer, log)
    sent_at, senders = {each.mark: each.at for each in sent}, {each.sender for each in sent}
    got = [[line.what for line in log if line.what in sent_at] for log in others]
    said = [[each.mark for each in sent if each.sender == sender and each.accepted] for sender in senders]
    _put(got, order, holes)
    for hole in holes:
        hole.got = set(hole.marks)
    _put(said, order, holes)
    skipped = set[str]()
    for hole in reversed(holes):
        marks = hole.filled(sent_at)
        skipped.update(marks)
        order[hole.at : hole.at] = [
            Received(order[0].room, Kind.MESSAGE, mark, "", sent_at[mark]) for mark in marks
        ]
    return Order(order, skipped)


@dataclass(slots=True)
class _Hole:
    """A place in the order, before the line ``at``, where ``number`` messages are missing.

    They come after the message in line ``after`` and before the one in line ``before``. ``marks`` are all
    that may be missing here, each with those that must come before it. Other members ``got`` some of them.
    """

    at: int
    after: float
    before: int
    number: int
    marks: dict[str, set[str]] = field(default_factory=dict)
    got: set[str] = field(default_factory=set)

    def filled(self, sent_at: dict[str, float]) -> list[str]:
        """As many marks as are missing, in order; none if somebody got more, or in another order."""
        earliest = sorted(self.marks.keys() - self.got, key=lambda mark: (sent_at[mark], mark))
        chosen = self.got.union(earliest[: max(0, self.number - len(self.got))])
        if len(chosen) > self.number:
            return []
        sorter = TopologicalSorter({mark: self.marks[mark] & chosen for mark in chosen})
        try:
            sorter.prepare()
        except CycleError:
            return []
        marks: list[str] = []
        ready: list[tuple[float, str]] = []
        while sorter.is_active():
            for mark in sorter.get_ready():
                heapq.heappush(ready, (sent_at[mark], mark))
            marks.append(heapq.heappop(ready)[1])
            sorter.done(marks[-1])
        return marks


def _holes(observer: str, log: list[Received]) -> tuple[list[Received], list[_Hole]]:
    """The log without the numbers, and a hole for each of these."""
    order: list[Received] = []
    at, after = 0, -1
    places: dict[str, tuple[int, int, int]] = {}
    for line in log:
        if line.kind is Kind.SKIPPED:
            at = len(order)
            continue
        if line.kind is Kind.MESSAGE:
            places[line.what] = at, after, len(order)
            after = len(order)
        order.append(line)
    return order, [_Hole(*places[mark], number) for number, mark in _numbers(observer, log)]


def _numbers(user: str, log: Iterable[Received]) -> Iterator[tuple[int, str]]:
    """How many messages a catch-up left out, and the first one that came after it.

    The last number before that message counts: a catch-up that failed begins again.
    """
    told = before = 0
    for line in log:
        if line.kind is Kind.SKIPPED:
            told = int(line.what)
        elif line.kind is Kind.MESSAGE and told > before:
            yield told - before, line.what
            before = told
        elif line.kind is Kind.JOINED and line.what == user:
            told = before = 0


def _put(chains: Iterable[list[str]], order: list[Received], holes: list[_Hole]) -> None:
    """Put what is in these chains and not in the order into the holes where it fits."""
    places = {line.what: place for place, line in enumerate(order) if line.kind is Kind.MESSAGE}
    runs = [run for chain in chains for run in _runs(chain, places)]
    runs.sort(key=lambda run: run[1] - run[0])  # what can be in few holes comes first
    known = {mark for hole in holes for mark in hole.marks}
    for after, before, marks in runs:
        for hole in holes:
            if after <= hole.after and hole.before <= before:
                here = [mark for mark in marks if mark in hole.marks or mark not in known]
                for mark in here:
                    hole.marks.setdefault(mark, set())
                for earlier, later in pairwise(here):
                    hole.marks[later].add(earlier)
                known.update(here)
                break


def _runs(chain: list[str], places: dict[str, int]) -> Iterator[tuple[float, float, list[str]]]:
    """The parts of a chain that have no place, each with the places before and after it."""
    after, run = -1, list[str]()
    for mark in chain:
        if mark not in places:
            run.append(mark)
            continue
        if run:
            yield after, places[mark], run
        after, run = places[mark], []
    if run:
        yield after, math.inf, run
