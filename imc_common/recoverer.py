"""Looks now and then for pending entries that nobody has in hand, and has them read again.

They come about when a process that lost a shard unnoticed (stopped at the wrong moment, say) still got an
answer to a read that it had sent: Redis noted the entries as handed out, but that process may not handle them
any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import structlog

from imc_common import keys
from imc_common.store import Command, ReplyError, StoreUnreachable

log = structlog.get_logger()

MOST_LOOKED_AT = 1000  # pending entries of one shard; more than a process has in hand of it


class Runner(Protocol):
    """The part of a store that the recoverer needs."""

    async def run(self, commands: Sequence[Command]) -> list[Any]: ...


class Source(Protocol):
    """The part of a consumer that the recoverer needs."""

    def resync(self, shard: int, delay: float = 0.0) -> None: ...


class Recoverer:
    """Every two leases: entries of owned shards that are pending for two leases and not in hand.

    `in_hand` tells whether this process still works on an entry.
    """

    def __init__(  # noqa: PLR0917 # the parts it stands between
        self,
        store: Runner,
        source: Source,
        owned: Callable[[], frozenset[int]],
        stream: Callable[[int], str],
        lease_ttl: float,
        in_hand: Callable[[int, bytes], bool] = lambda shard, entry_id: False,
    ) -> None:
        self._store = store
        self._source = source
        self._owned = owned
        self._stream = stream
        self._period = 2 * lease_ttl
        self._in_hand = in_hand

    async def run(self) -> None:
        """Look, and look again, until cancelled."""
        while True:
            await asyncio.sleep(self._period)
            try:
                await self.look()
            except StoreUnreachable:
                continue  # the consumer starts from the pending entries when Redis is back

    async def look(self) -> None:
        """One look at every owned shard. Raises StoreUnreachable."""
        shards = sorted(self._owned())
        idle_ms = int(self._period * 1000)
        commands: list[Command] = [
            ("XPENDING", self._stream(shard), keys.GROUP, "IDLE", idle_ms, "-", "+", MOST_LOOKED_AT)
            for shard in shards
        ]
        for shard, pending in zip(shards, await self._store.run(commands), strict=True):
            if isinstance(pending, ReplyError):  # the consumer meets the same, and deals with it
                continue
            forgotten = [entry[0] for entry in pending if not self._in_hand(shard, entry[0])]
            if forgotten:
                log.warning("pending entries in nobody's hand", shard=shard, entries=len(forgotten))
                self._source.resync(shard)
