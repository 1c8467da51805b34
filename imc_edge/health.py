"""Whether this edge may be sent requests: what OPTIONS tells a balancer (RFC 3261 §11)."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from imc_common import keys
from imc_common.settings import Settings
from imc_common.store import Command, Store, StoreUnreachable

CHECK_EVERY = 1.0
"""Seconds between two looks at Redis; an OPTIONS in between costs no round trip."""

_log = structlog.get_logger()


class Health:
    """Redis in reach and willing to write, backlog within bounds, not draining."""

    def __init__(self, store: Store, shards: int, max_backlog: int) -> None:
        """``max_backlog``: most entries of one shard's in-stream; 0: any number."""
        self._store = store
        self._commands: list[Command] = [("XLEN", keys.requests(shard)) for shard in range(shards)]
        # refused as any write is by a full or a read-only server, and without effect where it is taken
        self._commands += [("SET", keys.lease(shard, ""), "", "XX") for shard in range(shards)]
        self._max_backlog = max_backlog
        self._of_redis = "redis was not asked yet"
        self.draining = False

    @property
    def trouble(self) -> str:
        """Why requests had better go elsewhere; empty: they are welcome."""
        return "this edge drains" if self.draining else self._of_redis

    def drain(self) -> None:
        """From now on requests had better go elsewhere, for good."""
        self.draining = True

    def reload(self, settings: Settings) -> None:
        """Go on with these settings."""
        self._max_backlog = settings.max_backlog

    async def run(self) -> None:
        """Look once a second, until cancelled; a change of state is one line in the log."""
        while True:
            await self.check()
            await asyncio.sleep(CHECK_EVERY)

    async def check(self) -> None:
        """Look now."""
        try:
            trouble = self._judge(await self._store.run(self._commands))
        except StoreUnreachable as error:
            trouble = f"redis is out of reach: {error}"
        if bool(trouble) != bool(self._of_redis):
            if trouble:
                _log.warning("requests had better go elsewhere", reason=trouble)
            else:
                _log.info("requests are welcome")
        self._of_redis = trouble

    def _judge(self, replies: list[Any]) -> str:
        for reply in replies:
            if isinstance(reply, Exception):
                return f"redis: {reply}"
        for shard, length in enumerate(replies[: len(replies) // 2]):
            if self._max_backlog and length >= self._max_backlog:
                return f"shard {shard} has a backlog of {length} requests"
        return ""
