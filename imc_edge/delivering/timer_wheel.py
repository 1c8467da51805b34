"""One timer wheel for every client transaction of the process.

Setting a timer must cost next to nothing, and cancelling it nothing at all. So an entry is one list append,
and nothing is ever taken out: an owner that no longer needs its timer ignores it when it is due.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import ceil
from typing import Final, Protocol

TICK = 0.05
"""Seconds between two turns of the wheel, a tenth of T1."""

SLOTS = 1024
"""Slots for 51 s: more than Timer F (32 s), the longest one (RFC 3261 §17.1.2.2)."""

AT_ONCE: Final = 64
"""Timers that fire in one go: the timers of thousands of silent recipients must not delay other work."""


class TimerOwner(Protocol):
    """What a timer belongs to."""

    def due(self) -> None:
        """The timer has fired; ignored if it is no longer needed."""


class TimerWheel:
    """A ring of lists of what is due."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """``clock`` is monotonic, in seconds."""
        self._clock = clock
        self._start = clock()
        self._slots: list[list[TimerOwner]] = [[] for _ in range(SLOTS)]
        self._due: deque[TimerOwner] = deque()
        """What is due and has not fired yet."""
        self.tick = 0
        """Ticks since the wheel was made, as of the last turn."""

    def add(self, item: TimerOwner, ticks: int) -> None:
        """Let ``item`` be due so many ticks (0 to ``SLOTS - 2``) after the last turn.

        It fires at most one tick late, or later if thousands are due with it.

        The clock is not read here: code that sends a lot at a time calls `advance` in between.
        """
        # The current tick is partly over, so one more is counted: a timer must not fire early.
        self._slots[(self.tick + ticks + 1) % SLOTS].append(item)

    def advance(self) -> bool:
        """Fire what fell due since the last turn, however long ago that was, but at most `AT_ONCE` timers.

        True if more are due: then advance again, after other work had its turn.
        """
        now = int((self._clock() - self._start) / TICK)
        due = self._due
        for tick in range(max(self.tick, now - SLOTS) + 1, now + 1):
            slot = self._slots[tick % SLOTS]
            if slot:
                due.extend(slot)
                self._slots[tick % SLOTS] = []
        # All slots are emptied before anything runs: a timer that is set now counts from now, and must not
        # get into a slot that is still to be run.
        self.tick = now
        for _ in range(min(AT_ONCE, len(due))):
            due.popleft().due()
        return bool(due)


def ticks(seconds: float) -> int:
    """Seconds in ticks, rounded up."""
    return ceil(round(seconds / TICK, 6))
