"""Next hops that asked for a pause, or that cannot be reached, and how long nothing is sent there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from imc_edge.flow import Hop

MAX_SECONDS: Final = 3600
"""A longer Retry-After counts as this."""
MAX_HOPS = 10_000  # not Final, which mypyc would inline: tests lower it
"""Hops that are backed off at a time. Members' addresses decide about hops: with more, all are forgotten."""
LOOK_SECONDS: Final = 1.0
"""Between two looks for hops whose time is over."""

_RETRY_AFTER = re.compile(r"[ \t]*([0-9]{1,10})(?![0-9])").match


class BackOff:
    """Hops and the monotonic time until which no request goes there."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.until: dict[Hop, float] = {}
        """Empty most of the time: then no hop has to be looked up."""
        self._next_look = 0.0

    def start(self, hop: Hop, seconds: float) -> None:
        """RFC 3261 §21.5.4: send no other requests to that server for so long."""
        if len(self.until) >= MAX_HOPS:
            self.until.clear()
        self.until[hop] = max(self._clock() + min(seconds, MAX_SECONDS), self.until.get(hop, 0.0))

    def turn(self) -> None:
        """To be called often: forget hops whose time is over, also those that nothing is sent to any more."""
        if not self.until or self._clock() < self._next_look:
            return
        now = self._clock()
        self._next_look = now + LOOK_SECONDS
        for hop in [hop for hop, until in self.until.items() if until <= now]:
            del self.until[hop]

    def applies_to(self, hop: Hop) -> bool:
        """Whether this hop is backed off now; one whose time is over is forgotten here."""
        until = self.until.get(hop)
        if until is None:
            return False
        if self._clock() < until:
            return True
        del self.until[hop]
        return False

    def shorten(self, hops: Iterable[Hop], seconds: float) -> None:
        """Back these off for at most so many seconds from now: there is no other hop to use instead."""
        latest = self._clock() + seconds
        for hop in hops:
            if self.until.get(hop, 0.0) > latest:
                self.until[hop] = latest

    def first_free(self, hops: Iterable[Hop]) -> float:
        """Monotonic time when the first of these may be used again."""
        return min((self.until.get(hop, 0.0) for hop in hops), default=0.0)


def retry_after(value: str | None) -> int | None:
    """The seconds of a Retry-After header, without its comment and parameters (RFC 3261 §20.33)."""
    match = _RETRY_AFTER(value or "")
    return int(match[1]) if match else None
