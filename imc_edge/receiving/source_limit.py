"""How many requests are read from one source that is not trusted. A flood is dropped before it is parsed."""

from __future__ import annotations

from collections.abc import Callable
from socket import AF_INET6, inet_pton
from typing import Final

import structlog

_log = structlog.get_logger()

WINDOW: Final = 2.0
"""Seconds in which the requests of a source are counted together, as in the pike modules of OpenSIPS and
Kamailio."""
MAX_SOURCES: Final = 50_000
"""Sources that are counted. A flood from more forged addresses starts a new window, which lets more requests
pass."""


class SourceLimit:
    """Counts the requests of each source in the present window.

    A source is an IPv4 address, or an IPv6 /64, since one host can own all of its addresses.
    """

    def __init__(self, per_second: float, clock: Callable[[], float]) -> None:
        """0: no limit. ``clock`` is monotonic, in seconds."""
        self._limit = max(1, int(per_second * WINDOW)) if per_second else 0
        self._clock = clock
        self._until = 0.0
        self._counts: dict[str | bytes, int] = {}

    def allows(self, host: str) -> bool:
        """Count one more request of this address; False if it is over the limit."""
        if not self._limit:
            return True
        now = self._clock()
        if now >= self._until or len(self._counts) >= MAX_SOURCES:
            self._counts.clear()
            self._until = now + WINDOW
        source = inet_pton(AF_INET6, host.partition("%")[0])[:8] if ":" in host else host
        count = self._counts.get(source, 0) + 1
        self._counts[source] = count
        if count == self._limit + 1:
            _log.warning("flood dropped", source=host, hint="if it is a proxy, add it to trusted_peers")
        return count <= self._limit
