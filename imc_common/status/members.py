"""Counts the members of rooms in the background, a few rooms at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from imc_common.keys import Keys
from imc_common.store import StoreUnreachable
from imc_common.store.protocols import CommandRunner

PAGE = 100
PAUSE = 0.1
"""Seconds between two pages: a thousand rooms per second, less than 0.1 % of Redis's time."""
REST = 10.0
"""Seconds between two rounds over all owned shards."""


class MemberCount:
    """The number of members of all rooms in the owned shards, as of the last round over each shard."""

    def __init__(self, store: CommandRunner, names: Keys, owned: Callable[[], frozenset[int]]) -> None:
        self._store = store
        self._names = names
        self._owned = owned
        self._by_shard: dict[int, int] = {}

    def total(self) -> float:
        """The sum over the shards owned now."""
        owned = self._owned()
        return float(sum(count for shard, count in self._by_shard.items() if shard in owned))

    async def run(self) -> None:
        """Count repeatedly until cancelled."""
        while True:
            try:
                for shard in sorted(self._owned()):
                    self._by_shard[shard] = await self.count(shard)
                    await asyncio.sleep(PAUSE)
            except StoreUnreachable:
                pass  # the next round tries again
            await asyncio.sleep(REST)

    async def count(self, shard: int) -> int:
        """The members of one shard's rooms. Raises StoreUnreachable."""
        members, cursor = 0, b"0"
        while True:
            (page,) = await self._store.run([("ZSCAN", self._names.rooms(shard), cursor, "COUNT", PAGE)])
            if not isinstance(page, list):
                return members  # the key has another type: nothing to count
            cursor, rooms = page[0], [room.decode() for room in page[1][::2]]
            sizes = await self._store.run([("HLEN", self._names.members(shard, room)) for room in rooms])
            members += sum(size for size in sizes if isinstance(size, int))
            if cursor == b"0":
                return members
            await asyncio.sleep(PAUSE)
