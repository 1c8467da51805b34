"""The time by Redis's clock, the one clock that all edges share.

An edge remembers the offset of its own monotonic clock from Redis's. It reads Redis's clock periodically,
because clocks drift, and Redis's can be corrected or be that of another server after a failover. An edge's
wall clock is only used before the first read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from imc_common import keys
from imc_common.store import Store, StoreUnreachable

READ_SECONDS: Final = 15.0
"""Between two reads."""
FIRST_READ_SECONDS: Final = 1.0
"""Between two reads until one has succeeded."""


class RedisClock:
    """Called, it gives the seconds since the epoch, right within a round trip once `read` has succeeded."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        """``clock`` is monotonic, in seconds."""
        self._store = store
        self._clock = clock
        self._offset: float | None = None

    def __call__(self) -> float:
        """Redis's time now; before the first read, that of this machine."""
        return time.time() if self._offset is None else self._clock() + self._offset

    async def run(self) -> None:
        """Read the time periodically, until cancelled."""
        while True:
            await asyncio.sleep(FIRST_READ_SECONDS if self._offset is None else READ_SECONDS)
            await self.read()

    async def read(self) -> None:
        """Read the time now. If Redis is unreachable, the last offset stays."""
        asked = self._clock()
        try:
            (reply,) = await self._store.run([self._store.script("read_clock", [keys.DIGEST_KEYS], [])])
        except StoreUnreachable:
            return
        if isinstance(reply, int):
            self._offset = reply / 1000 - asked
