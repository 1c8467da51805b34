"""Looks now and then for entries that were handed out and that nobody has in hand, and has them read again.

A new owner ends its predecessor's reads and begins with what that one was handed, so there should be none:
this is the net below, for what nobody has thought of.
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

PAGE = 1000  # entries of one shard looked at in one go: about a millisecond of Redis's time


class Recoverer:
    """Every two leases: entries of owned shards that were handed out and nobody has in hand, twice in a row.

    `in_hand` tells whether this process still works on an entry.
    """

    def __init__(  # noqa: PLR0917 # the parts it stands between
        self,
        store: ScriptRunner,
        source: Consumer,
        owned: Callable[[], frozenset[int]],
        stream: Callable[[int], str],
        lease_ttl: float,
        in_hand: Callable[[int, bytes], bool],
    ) -> None:
        self._store = store
        self._source = source
        self._owned = owned
        self._stream = stream
        self._period = 2 * lease_ttl
        self._in_hand = in_hand
        self._noticed: dict[int, frozenset[bytes]] = {}

    async def run(self) -> None:
        """Look, and look again, until cancelled."""
        while True:
            await asyncio.sleep(self._period)
            try:
                await self.look()
            except StoreUnreachable:
                continue  # the consumer starts from the first entries when Redis is back

    async def look(self) -> None:
        """One look at every owned shard. Raises StoreUnreachable."""
        shards = sorted(self._owned())
        noticed = {}
        for shard, first in zip(shards, await self._store.run([self._page(s) for s in shards]), strict=True):
            if isinstance(first, ReplyError):  # the consumer meets the same, and deals with it
                continue
            ids = await self._all(shard, first)
            noticed[shard] = frozenset(each for each in ids if not self._in_hand(shard, each))
            if forgotten := noticed[shard] & self._noticed.get(shard, frozenset()):
                log.warning("entries in nobody's hand", shard=shard, entries=len(forgotten))
                self._source.resync(shard)
        self._noticed = noticed

    async def _all(self, shard: int, first: list[bytes]) -> list[bytes]:
        """What was handed out, of which this is the first page."""
        ids = list(first)
        page: Any = first
        while isinstance(page, list) and len(page) == PAGE:
            (page,) = await self._store.run([self._page(shard, f"({ids[-1].decode()}")])
            if isinstance(page, list):
                ids += page
        return ids

    def _page(self, shard: int, after: str = "-") -> Command:
        return self._store.script("list_pending", [self._stream(shard)], [after, PAGE])
