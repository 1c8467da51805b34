"""One timer wheel for every client transaction of the process.

Nearly every transaction is answered before its first timer fires, so setting a timer must cost next to
nothing and cancelling it nothing at all: an entry is one list append, and one that is no longer wanted is
told so by its owner when its turn comes.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Protocol

TICK = 0.05
"""Seconds between two turns of the wheel: a tenth of T1, so that timers are at most that late."""

SLOTS = 1024
"""51 s ahead: past Timer F (32 s) and Timer K (5 s), the longest there are (RFC 3261 §17.1.2.2)."""


class Timed(Protocol):
    """What can be put on the wheel."""

    def due(self) -> None:
        """Its time has come; it decides itself whether that still means anything."""


class TimerWheel:
    """A ring of lists of what is due; ``advance`` turns it by the injected monotonic clock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._start = clock()
        self._slots: list[list[Timed]] = [[] for _ in range(SLOTS)]
        self.tick = 0
        """Ticks since the wheel was made, as of the last turn."""

    def add(self, item: Timed, ticks: int) -> None:
        """Let ``item`` be due so many ticks (0 to ``SLOTS - 2``) after the last turn, at most one tick late.

        No clock is read here: whoever sends a lot at a time turns the wheel in between.
        """
        # The current tick is partly over, so one more is counted: a timer must not fire early.
        self._slots[(self.tick + ticks + 1) % SLOTS].append(item)

    def advance(self) -> None:
        """Run everything that fell due since the last turn; also after a long stop of the process."""
        now = int((self._clock() - self._start) / TICK)
        due: list[list[Timed]] = []
        for tick in range(max(self.tick, now - SLOTS) + 1, now + 1):
            slot = self._slots[tick % SLOTS]
            if slot:
                due.append(slot)
                self._slots[tick % SLOTS] = []
        # All slots are taken out before anything runs: what is set anew counts from now, and cannot land
        # in a slot that is still to be run.
        self.tick = now
        for items in due:
            for item in items:
                item.due()


def ticks(seconds: float) -> int:
    """Seconds in ticks, rounded up."""
    return ceil(round(seconds / TICK, 6))
