"""Sends the 200 to an INVITE again until its ACK comes (RFC 3261 §13.3.1.4).

This is all that an edge remembers of an INVITE. If it dies, the client sends the INVITE again. If the ACK
comes to another edge, that one tells all edges: over the channel on which they tell one another who is back
(`imc_common.presence`). If that gets lost, the client acknowledges each further 200, and ignores it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from imc_common import keys
from imc_common.scripts import Command

T1: Final = 0.5
T2: Final = 4.0
LAST: Final = 64 * T1
"""Seconds after which an answer without ACK is given up."""
MAX_ANSWERS: Final = 4096
"""Answers that are repeated at a time; further ones are sent once."""

Exchange = tuple[str, int]
"""Our To tag and the number in CSeq, which the 200 and its ACK have in common: nobody else has this tag."""

_ACK: Final = "ack"


def announcement(exchange: Exchange) -> Command:
    """Tells all edges that the ACK has come."""
    tag, number = exchange
    return ("PUBLISH", keys.PRESENCE, f"{_ACK} {number} {tag}")


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

    def acknowledged(self, exchange: Exchange) -> bool:
        """The ACK has come. Whether the answer was one of these."""
        timer = self._timers.pop(exchange, None)
        if timer is not None:
            timer.cancel()
        return timer is not None

    def heard(self, payload: bytes) -> None:
        """A message of another edge: the `announcement` of an ACK, or something else."""
        word, _, rest = payload.decode(errors="replace").partition(" ")
        number, _, tag = rest.partition(" ")
        if word == _ACK and number.isdecimal():
            self.acknowledged((tag, int(number)))

    def _wait(self, exchange: Exchange, send: Callable[[], None], interval: float, waited: float) -> None:
        loop = asyncio.get_running_loop()
        self._timers[exchange] = loop.call_later(interval, self._due, exchange, send, interval, waited)

    def _due(self, exchange: Exchange, send: Callable[[], None], interval: float, waited: float) -> None:
        waited += interval
        del self._timers[exchange]
        if waited < LAST:
            send()
            self._wait(exchange, send, min(2 * interval, T2), waited)
