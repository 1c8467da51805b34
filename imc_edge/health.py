"""Whether this edge is available: what the response to OPTIONS tells a balancer (RFC 3261 §11)."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from imc_common import keys
from imc_common.settings import Settings
from imc_common.store import Command, Store, StoreUnreachable

CHECK_SECONDS = 1.0
"""Between two checks of Redis; an OPTIONS in between costs no round trip."""

_log = structlog.get_logger()


class Health:
    """Available: Redis is reachable and takes writes, no shard's backlog is too long, and we do not drain."""

    def __init__(self, store: Store, shards: int, max_backlog: int) -> None:
        """``max_backlog``: limit of the entries in one shard's in-stream; 0: none."""
        self._store = store
        self._commands: list[Command] = [("XLEN", keys.requests(shard)) for shard in range(shards)]
        # a write without effect: a full or a read-only server refuses it as it does any other
        self._commands += [("SET", keys.lease(shard, ""), "", "XX") for shard in range(shards)]
        self._max_backlog = max_backlog
        self._of_redis = "redis not checked yet"
        self.draining = False

    @property
    def trouble(self) -> str:
        """Why this edge is not available; empty if it is."""
        return "draining" if self.draining else self._of_redis

    def drain(self) -> None:
        """Not available any more: the process is about to end."""
        self.draining = True

    def reload(self, settings: Settings) -> None:
        """Go on with these settings."""
        self._max_backlog = settings.max_backlog

    async def run(self) -> None:
        """Check once a second, until cancelled; a change is one line in the log."""
        while True:
            await self.check()
            await asyncio.sleep(CHECK_SECONDS)

    async def check(self) -> None:
        """Check now."""
        try:
            trouble = self._judge(await self._store.run(self._commands))
        except StoreUnreachable as error:
            trouble = f"redis is unreachable: {error}"
        if bool(trouble) != bool(self._of_redis):
            if trouble:
                _log.warning("edge unavailable", reason=trouble)
            else:
                _log.info("edge available")
        self._of_redis = trouble

    def _judge(self, replies: list[Any]) -> str:
        for reply in replies:
            if isinstance(reply, Exception):
                return f"redis: {reply}"
        for shard, length in enumerate(replies[: len(replies) // 2]):
            if self._max_backlog and length >= self._max_backlog:
                return f"shard {shard} has a backlog of {length} requests"
        return ""
