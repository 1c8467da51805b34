"""How many requests are read from one source that is not trusted. A flood is dropped before it is parsed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from imc_common.sources import source_of

_log = structlog.get_logger()

WINDOW: Final = 2.0
"""Seconds in which the requests of a source are counted together, as in the pike modules of OpenSIPS and
Kamailio."""
MAX_SOURCES = 50_000  # not Final, which mypyc would inline: tests lower it
"""Sources that are counted. A flood from more forged addresses starts a new window, which lets more requests
pass."""


class SourceLimit:
    """Counts the requests of each source (`imc_common.sources`) in the present window."""

    def __init__(self, per_second: float, clock: Callable[[], float], max_sources: int = MAX_SOURCES) -> None:
        """0: no limit. ``clock`` is monotonic, in seconds."""
        self._max_sources = max_sources
        self._limit = max(1, int(per_second * WINDOW)) if per_second else 0
        self._clock = clock
        self._until = 0.0
        self._counts: dict[str, int] = {}

    def allows(self, host: str) -> bool:
        """Count one more request of this address; False if it is over the limit."""
        return not self._limit or self.allows_source(source_of(host), host)

    def allows_source(self, source: str, host: str = "") -> bool:
        """The same for a source; ``host`` is its address for the log."""
        now = self._clock()
        if now >= self._until or len(self._counts) >= self._max_sources:
            self._counts.clear()
            self._until = now + WINDOW
        count = self._counts.get(source, 0) + 1
        self._counts[source] = count
        if count == self._limit + 1:
            _log.warning(
                "flood dropped", source=host or source, hint="if it is a proxy, add it to trusted_peers"
            )
        return count <= self._limit
