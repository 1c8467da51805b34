"""How much is read from one source that is not trusted: a flood is dropped before anybody looks into it."""

from __future__ import annotations

from collections.abc import Callable
from socket import AF_INET6, inet_pton
from typing import Final

import structlog

_log = structlog.get_logger()

WINDOW: Final = 2.0
"""Seconds in which a source's requests are counted together, as OpenSIPS's and Kamailio's pike does."""
MOST_SOURCES: Final = 50_000
"""Counted at a time; a flood from more made-up addresses starts the window anew, which lets more through."""


class SourceLimit:
    """Requests of each source in the present window: of an IPv4 address, or a /64, which one host may own."""

    def __init__(self, per_second: float, clock: Callable[[], float]) -> None:
        """0 for no limit; ``clock`` is monotonic, in seconds."""
        self._most = max(1, int(per_second * WINDOW)) if per_second else 0
        self._clock = clock
        self._until = 0.0
        self._counts: dict[str | bytes, int] = {}

    def allows(self, host: str) -> bool:
        """Whether one more request of this address is to be looked at; it is counted."""
        if not self._most:
            return True
        now = self._clock()
        if now >= self._until or len(self._counts) >= MOST_SOURCES:
            self._counts.clear()
            self._until = now + WINDOW
        source = inet_pton(AF_INET6, host.partition("%")[0])[:8] if ":" in host else host
        count = self._counts.get(source, 0) + 1
        self._counts[source] = count
        if count == self._most + 1:
            _log.warning("a source sends too much to be read; if it is a proxy, trust it", source=host)
        return count <= self._most
