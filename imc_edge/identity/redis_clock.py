"""What time it is by Redis's clock: the one clock that all edges can agree on.

An edge notes how far its own monotonic clock is from Redis's, and asks again now and then, because clocks
drift and Redis's may be put right, or be another one's after a failover. No edge's wall clock is looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from imc_common import keys
from imc_common.store import Store, StoreUnreachable

ASK_EVERY: Final = 15.0
AGAIN_SECONDS: Final = 1.0
"""The pause until Redis has told the time once."""


class RedisClock:
    """Called, gives the seconds since the epoch; right but for a round trip, once `read` has succeeded."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        """``clock`` is monotonic, in seconds."""
        self._store = store
        self._clock = clock
        self._ahead: float | None = None

    def __call__(self) -> float:
        """Redis's time now; before Redis has told it, one that means nothing to others."""
        return self._clock() + (self._ahead or 0.0)

    async def run(self) -> None:
        """Ask for the time now and then, until cancelled."""
        while True:
            await asyncio.sleep(AGAIN_SECONDS if self._ahead is None else ASK_EVERY)
            await self.read()

    async def read(self) -> None:
        """Ask Redis for the time; when it is away, what was known stays."""
        asked = self._clock()
        try:
            (reply,) = await self._store.run([self._store.script("read_clock", [keys.DIGEST_KEYS], [])])
        except StoreUnreachable:
            return
        if isinstance(reply, int):
            self._ahead = reply / 1000 - asked
