"""CSeq numbers of our requests in dialogs, which no process remembers.

They grow in each dialog (RFC 3261 §12.2.1.1), whichever edge sends: they count the hundredths of seconds of
Redis's clock, which all edges share. A subscription to several rooms is one dialog, whose NOTIFYs may come
from several edges. And an event that is sent again after a takeover has a higher number than before.

A request can get the number of the one before if two edges send within a hundredth of a second, or a lower
one after a failover to a server whose clock is behind. Then the client responds 500 (RFC 3261 §12.2.2). The
worker has it sent again, and lifts the numbers of this subscription from then on (`lua/settle_notify.lua`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

PER_SECOND: Final = 100
_BITS: Final = 31
"""RFC 3261 §8.1.1.5: less than 2**31. So the numbers begin anew every 248 days."""
MAX_KNOWN = 8192  # not Final, which mypyc would inline: tests lower it
"""Dialogs whose last number is remembered. If there are more, all are forgotten."""


class SequenceNumbers:
    """Gives the next number."""

    def __init__(self, redis_clock: Callable[[], float]) -> None:
        """``redis_clock`` gives seconds since the epoch."""
        self._redis_clock = redis_clock
        self._last: dict[str, int] = {}

    def next(self, call_id: str, lift: int = 0) -> int:
        """The number of the next request in the dialog with this Call-ID, higher by ``lift``."""
        number = (int(self._redis_clock() * PER_SECOND) + lift) % (1 << _BITS) or 1
        last = self._last.get(call_id)
        if last is not None and number <= last < number + PER_SECOND * 3600:
            number = last + 1
        if len(self._last) >= MAX_KNOWN:
            self._last.clear()
        self._last[call_id] = number
        return number
