"""Sends the 200 to an INVITE again until its ACK comes (RFC 3261 §13.3.1.4).

This is all that an edge remembers of an INVITE. If it dies, the client sends the INVITE again, or the ACK is
already on its way to another edge. Then this edge sends the 200 a few times in vain, and the client
acknowledges each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

T1: Final = 0.5
T2: Final = 4.0
LAST: Final = 64 * T1
"""Seconds after which an answer without ACK is given up."""
MAX_ANSWERS: Final = 4096
"""Answers that are repeated at a time; further ones are sent once."""

Exchange = tuple[str, int]
"""Our To tag and the number in CSeq, which the 200 and its ACK have in common: nobody else has this tag."""


class InviteAnswers:
    """The answers whose ACK has not come."""

    def __init__(self) -> None:
        self._timers: dict[Exchange, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._timers)

    def repeat(self, exchange: Exchange, send: Callable[[], None]) -> None:
        """Call ``send`` again and again, at growing intervals, until the ACK comes. It was called once."""
        if len(self._timers) < MAX_ANSWERS and exchange not in self._timers:
            self._wait(exchange, send, T1, 0.0)

    def acknowledged(self, exchange: Exchange) -> None:
        """The ACK has come."""
        timer = self._timers.pop(exchange, None)
        if timer is not None:
            timer.cancel()

    def _wait(self, exchange: Exchange, send: Callable[[], None], interval: float, waited: float) -> None:
        loop = asyncio.get_running_loop()
        self._timers[exchange] = loop.call_later(interval, self._due, exchange, send, interval, waited)

    def _due(self, exchange: Exchange, send: Callable[[], None], interval: float, waited: float) -> None:
        waited += interval
        del self._timers[exchange]
        if waited < LAST:
            send()
            self._wait(exchange, send, min(2 * interval, T2), waited)
