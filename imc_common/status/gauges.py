"""Gauges of what is in Redis. They are read at an interval, so scrapes cause no requests to Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

from imc_common import keys
from imc_common.keys import Keys
from imc_common.metrics import Metrics
from imc_common.settings import Settings
from imc_common.shards.group import count_pending
from imc_common.status.members import MemberCount
from imc_common.store import Command, StoreUnreachable
from imc_common.store.protocols import CommandRunner

READ_SECONDS = 5.0
"""Seconds between two reads, at least; longer with many shards, to limit the load of Redis."""
SHARDS_PER_SECOND = 50
PIPELINE = 240
"""Commands of one pipeline: about one millisecond of Redis's time."""

_STREAMS = {"requests": keys.requests, "events": keys.events}


class Gauges:
    """Backlog, pending entries and dead letters of the shards this process owns, and the rooms of all shards.

    One worker and one edge own each shard, and both report it. Query with ``max by (shard, stream)`` and
    ``max(imc_active_rooms)``.
    """

    def __init__(
        self,
        store: CommandRunner,
        settings: Settings,
        role: Literal["edge", "worker"],
        owned: Callable[[], frozenset[int]],
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._owned = owned
        self._shards = 1 << settings.hash_size
        self._names = Keys(settings.rooms_table, settings.members_table)
        self._backlog: dict[tuple[str, str], int] = {}
        self._pending: dict[tuple[str, str], int] = {}
        self._dead: dict[str, int] = {}
        self._rooms = 0
        labels = ("shard", "stream")
        metrics.gauge("imc_leases", "Shards this process owns.", lambda: {role: float(len(owned()))}, "role")
        metrics.gauge(
            "imc_shards", "Shards of the service: 2 to the power of hash_size.", lambda: self._shards
        )
        metrics.gauge("imc_backlog", "Entries of a shard's stream.", lambda: self._backlog, labels)
        metrics.gauge(
            "imc_pending",
            "Entries of a shard's stream that were read and are not finished.",
            lambda: self._pending,
            labels,
        )
        metrics.gauge("imc_dead_letters", "Entries that could not be handled.", lambda: self._dead, "shard")
        metrics.gauge("imc_active_rooms", "Rooms of all shards.", lambda: self._rooms)
        self._members = MemberCount(store, self._names, owned) if role == "worker" else None
        if self._members is not None:
            metrics.gauge(
                "imc_members",
                "Members of rooms, including invited users, in the shards this worker owns.",
                self._members.total,
            )

    async def run(self) -> None:
        """Read until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read())
            if self._members is not None:
                tasks.create_task(self._members.run())

    async def read(self) -> None:
        """Read all numbers now. Raises StoreUnreachable."""
        owned = sorted(self._owned())
        commands: list[Command] = []
        for shard in owned:
            commands.append(("XLEN", keys.dead(shard)))
            for stream in _STREAMS.values():
                commands += [("XLEN", stream(shard)), ("XINFO", "GROUPS", stream(shard))]
        replies = iter(await self._ask(commands))
        backlog, pending, dead = {}, {}, {}
        for name in map(str, owned):
            dead[name] = _number(next(replies))
            for stream_name in _STREAMS:
                length = _number(next(replies))
                backlog[name, stream_name] = length
                pending[name, stream_name] = count_pending(length, next(replies))
        self._backlog, self._pending, self._dead = backlog, pending, dead
        counts = await self._ask([("ZCARD", self._names.rooms(shard)) for shard in range(self._shards)])
        self._rooms = int(sum(map(_number, counts)))

    async def _read(self) -> None:
        while True:
            with suppress(StoreUnreachable):  # readiness reports it; the numbers keep their last values
                await self.read()
            await asyncio.sleep(max(READ_SECONDS, self._shards / SHARDS_PER_SECOND))

    async def _ask(self, commands: list[Command]) -> list[Any]:
        replies: list[Any] = []
        for first in range(0, len(commands), PIPELINE):
            replies += await self._store.run(commands[first : first + PIPELINE])
        return replies


def _number(reply: Any) -> int:
    """The reply to XLEN or ZCARD; 0 for an error."""
    return reply if isinstance(reply, int) else 0
