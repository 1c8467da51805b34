"""Decides what the histories of a shard lose if they take more memory than they may (`history_max_bytes`).

The oldest messages go first, but each room keeps half of an equal share. So a busy room does not take away
what the members of all others have missed. Redis frees whole blocks of a stream, so blocks are counted and
removed. How the messages of a history are spread over time is estimated. So each walk removes half of what is
too much, and the next one measures again.
"""

from __future__ import annotations

from array import array
from typing import Final, NamedTuple

BLOCK_MESSAGES: Final = 100
BLOCK_BYTES: Final = 4800
"""The largest block of a stream, by Redis's default settings, and the memory that it takes."""


class Measured(NamedTuple):
    """One history: its bytes and messages, and the times of its first and last message in ms."""

    size: int
    messages: int
    first_ms: int
    last_ms: int

    @property
    def blocks(self) -> int:
        """How many there are, about."""
        return max(1, -(-self.messages // BLOCK_MESSAGES), self.size // BLOCK_BYTES)


class Ceiling:
    """The ceiling of one shard, from walk to walk."""

    def __init__(self) -> None:
        self.cutoff_ms = 0
        """What is older goes in this walk, where a room may lose something; 0: nothing goes."""
        self._kept = 0.0
        """Bytes that each history keeps; 0: nothing is removed."""
        self._target = 0.0
        """Bytes that this walk is to free."""
        self._in_vain = 0
        """How many walks in a row have freed less than half of their target, because of the estimates."""
        self.begin()

    def begin(self) -> None:
        """A walk begins. What one has seen that did not end does not count."""
        self._total = self._histories = self._freed = 0
        self._ends, self._sizes = array("d"), array("d")

    def may_lose(self, measured: Measured) -> int:
        """How many of its messages this history may lose."""
        spare = self._spare_blocks(measured)
        return -(-measured.messages * spare // measured.blocks)

    def _spare_blocks(self, measured: Measured) -> int:
        if not self._kept or measured.size <= self._kept:
            return 0
        return measured.blocks - int(measured.blocks * self._kept / measured.size)

    def add(self, measured: Measured, *, freed: int = 0) -> None:
        """What there is of one history, after this walk has freed so many bytes of it."""
        self._freed += freed
        if not measured.messages:
            return
        self._histories += 1
        self._total += measured.size
        size, blocks = measured.size / measured.blocks, measured.blocks
        for number in range(1, self._spare_blocks(measured) + 1):
            self._ends.append(measured.first_ms + (measured.last_ms - measured.first_ms) * number / blocks)
            self._sizes.append(size)

    def finish(self, limit: int) -> None:
        """The walk has seen all histories, which may take so many bytes: decides about the next walk."""
        self._in_vain = self._in_vain + 1 if self._freed < self._target / 2 else 0
        excess = self._total - limit if limit else 0
        self._target = max(0.0, excess / 2)
        self.cutoff_ms = self._time_of(self._target * 2**self._in_vain) if excess > 0 else 0
        self._kept = limit / self._histories / 2 if limit and self._histories else 0.0

    def _time_of(self, size: float) -> int:
        """The time in ms before which so many bytes are that may go; never later than all that may."""
        time = 0.0
        for end, block in sorted(zip(self._ends, self._sizes, strict=True)):
            time = end
            size -= block
            if size <= 0:
                break
        return int(time) + 1 if time else 0
