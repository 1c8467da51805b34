"""Finds orphaned entries (read, but pending in no process) and has them read again.

There should be none: a new owner ends the reads of the last one, and begins with what that one has read. The
recoverer is a safety net for errors that this does not cover.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from imc_common.shards.consumer import Consumer
from imc_common.store import Command, ReplyError, StoreUnreachable
from imc_common.store.protocols import ScriptRunner

log = structlog.get_logger()

PAGE = 1000
"""Entries of one shard per command: about a millisecond of Redis's time."""


class Recoverer:
    """Looks every two leases. An entry is orphaned if it is not pending in two successive looks.

    One look is not enough: an entry may just have been read and be on its way to this process. `is_pending`
    tells whether this process is working on an entry.
    """

    def __init__(  # noqa: PLR0917 # the parts it connects
        self,
        store: ScriptRunner,
        source: Consumer,
        owned: Callable[[], frozenset[int]],
        stream: Callable[[int], str],
        lease_ttl: float,
        is_pending: Callable[[int, bytes], bool],
    ) -> None:
        self._store = store
        self._source = source
        self._owned = owned
        self._stream = stream
        self._period = 2 * lease_ttl
        self._is_pending = is_pending
        self._suspected: dict[int, frozenset[bytes]] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(self._period)
            try:
                await self.look()
            except StoreUnreachable:
                continue  # the consumer reads from the first entry when Redis is reachable again

    async def look(self) -> None:
        """One look at every owned shard. Raises StoreUnreachable."""
        shards = sorted(self._owned())
        suspected = {}
        for shard, first in zip(shards, await self._store.run([self._page(s) for s in shards]), strict=True):
            if isinstance(first, ReplyError):  # the consumer gets the same error and handles it
                continue
            ids = await self._all(shard, first)
            suspected[shard] = frozenset(each for each in ids if not self._is_pending(shard, each))
            if orphaned := suspected[shard] & self._suspected.get(shard, frozenset()):
                log.warning("orphaned entries found", shard=shard, entries=len(orphaned))
                self._source.resync(shard)
        self._suspected = suspected

    async def _all(self, shard: int, first: list[bytes]) -> list[bytes]:
        """All entries that were read and exist, given their first page."""
        ids = list(first)
        page: Any = first
        while isinstance(page, list) and len(page) == PAGE:
            (page,) = await self._store.run([self._page(shard, f"({ids[-1].decode()}")])
            if isinstance(page, list):
                ids += page
        return ids

    def _page(self, shard: int, after: str = "-") -> Command:
        return self._store.script("list_pending", [self._stream(shard)], [after, PAGE])
