"""Next hops that asked to be left alone, or that are not there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from imc_edge.flow import Hop

MAX_SECONDS: Final = 3600
"""Nobody is left alone for longer, whatever his Retry-After says."""

_RETRY_AFTER = re.compile(r"[ \t]*([0-9]{1,10})(?![0-9])").match


class HoldOff:
    """Hops and the monotonic time until which no request goes there."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.held: dict[Hop, float] = {}
        """Empty in good times: then nobody needs to ask further."""

    def hold(self, hop: Hop, seconds: float) -> None:
        """RFC 3261 §21.5.4: no other requests to that server for so long."""
        self.held[hop] = max(self._clock() + min(seconds, MAX_SECONDS), self.held.get(hop, 0.0))

    def holds(self, hop: Hop) -> bool:
        """Whether this hop is held off now; those whose time is over are forgotten here."""
        until = self.held.get(hop)
        if until is None:
            return False
        if self._clock() < until:
            return True
        del self.held[hop]
        return False

    def first_free(self, hops: Iterable[Hop]) -> float:
        """Monotonic time when the first of these may be used again."""
        return min((self.held.get(hop, 0.0) for hop in hops), default=0.0)


def retry_after(value: str | None) -> int | None:
    """The seconds of a Retry-After header, without its comment and parameters (RFC 3261 §20.33)."""
    match = _RETRY_AFTER(value or "")
    return int(match[1]) if match else None
