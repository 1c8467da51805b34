"""Limits how many refusals one sender is told of: a program that responds to each notice must not keep both
sides busy for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from imc_common.address import counted_as

BURST: Final = 20
"""Notices sent at once."""
SECONDS_EACH: Final = 1.0
"""After the burst, one notice in so many seconds; the others are left out."""
MAX_SENDERS: Final = 10_000
"""Senders remembered; with more, all are forgotten, which only lets some more notices pass."""


class NoticeLimit:
    """A token bucket per sender, kept as the time at which it will be full again."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """``clock`` is monotonic, in seconds."""
        self._clock = clock
        self._full_at: dict[str, float] = {}

    def allows(self, sender: str) -> bool:
        """Whether this sender, at whatever port, may get one more notice now; if so, it is counted."""
        sender = counted_as(sender)
        now = self._clock()
        full_at = max(self._full_at.get(sender, now), now)
        if full_at - now > (BURST - 1) * SECONDS_EACH:
            return False
        if len(self._full_at) >= MAX_SENDERS:
            self._full_at.clear()
        self._full_at[sender] = full_at + SECONDS_EACH
        return True
