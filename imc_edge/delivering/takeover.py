"""Events that come again: handed out before, to this process or to one that may have died of them.

Who has answered already is read first, and whether the event is there still: it may have ended between being
read and being looked at, and then nobody knows any more who had it. And each attempt to make an event into
MESSAGEs is counted in Redis before it is made, and the count is taken back after it, so that it also finds an
event that ends the process. The first such attempt is shared by all events that are taken over together;
those that were part of one in which a process ended are suspects, and are tried alone, so that none is buried
for what another one did.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import structlog

from imc_common import keys
from imc_common.logs import about
from imc_common.rooms.event import Event
from imc_common.rooms.request import call_id_of
from imc_common.scripts import Command
from imc_common.shards.consumer import Consumer
from imc_common.store import StoreUnreachable
from imc_common.store.protocols import ScriptRunner
from imc_edge.delivering.counts import DeliveryCounts
from imc_edge.delivering.outbound import Part

log = structlog.get_logger()

ATTEMPTS_TTL_MS: Final = 24 * 3600 * 1000
AGAIN_SECONDS: Final = 1.0
"""Pause before an event that could not be made into MESSAGEs is tried again."""

Make = Callable[[str, int, list[bytes]], tuple[Event, list[Part]]]
"""Makes an event's entry (id, shard, fields) into the event and its MESSAGEs; may raise anything."""


class Taken(NamedTuple):
    """An event that may be sent, and who has answered it already."""

    event: Event
    parts: list[Part]
    settled: frozenset[str]


class Takeover:
    """Looks at events that come again, and buries those that cannot be handled."""

    def __init__(
        self,
        store: ScriptRunner,
        source: Consumer,
        counts: DeliveryCounts,
        *,
        max_attempts: int,
        wall: Callable[[], float],
    ) -> None:
        self._store = store
        self._source = source
        self._counts = counts
        self._max_attempts = max_attempts
        self._wall = wall
        self._interrupted: dict[int, list[str]] = {}
        """By shard, events that may be counted as tried because Redis went away meanwhile."""

    async def prepare(
        self, shard: int, entries: Sequence[tuple[str, list[bytes]]], make: Make
    ) -> list[Taken]:
        """Those of a shard's entries that can be sent, in order. Raises `StoreUnreachable`."""
        await self.tidy()
        try:
            return await self._prepare(shard, entries, make)
        except StoreUnreachable:
            self._interrupted[shard] = [entry_id for entry_id, _ in entries]
            raise

    async def tidy(self) -> None:
        """Take back what an outage left counted, also of shards that are another's now.

        Raises `StoreUnreachable`.
        """
        while self.untidy:
            shard, ids = next(iter(self._interrupted.items()))
            await self._uncount(shard, ids)
            del self._interrupted[shard]

    @property
    def untidy(self) -> bool:
        """Whether there is something to `tidy`."""
        return bool(self._interrupted)

    async def _prepare(
        self, shard: int, entries: Sequence[tuple[str, list[bytes]]], make: Make
    ) -> list[Taken]:
        entries, settled = await self._unfinished(shard, entries)
        ids = [entry_id for entry_id, _ in entries]
        tries = await self._store.run([("GET", keys.attempts(shard, "out", entry_id)) for entry_id in ids])
        counts = [int(count) if isinstance(count, bytes) and count.isdigit() else 0 for count in tries]
        shared = [entry_id for entry_id, count in zip(ids, counts, strict=True) if not count]
        await self._count(shard, shared)
        taken = []
        for (entry_id, fields), members, count in zip(entries, settled, counts, strict=True):
            if count >= self._max_attempts:
                await self._bury(shard, entry_id, f"processes have ended with it {count} times")
                continue
            if count:
                await self._count(shard, [entry_id])
            try:
                event, parts = make(entry_id, shard, fields)
            except Exception as error:  # whatever it is, it must not stop the shard
                if entry_id in shared:
                    shared.remove(entry_id)
                with about(call_id_of(fields)):
                    await self._failed(shard, entry_id, error, count + 1)
                continue
            if count:
                await self._uncount(shard, [entry_id])
            had_it = members if isinstance(members, list | set) else ()
            taken.append(Taken(event, parts, frozenset(member.decode() for member in had_it)))
        await self._uncount(shard, shared)
        return taken

    async def _unfinished(
        self, shard: int, entries: Sequence[tuple[str, list[bytes]]]
    ) -> tuple[list[tuple[str, list[bytes]]], list[Any]]:
        """Those that are still in the stream, and what SMEMBERS says of who has answered each."""
        ids = [entry_id for entry_id, _ in entries]
        # who answered goes with the entry: an entry found afterwards vouches for what was read before
        answered: list[Command] = [("SMEMBERS", keys.settled(shard, entry_id)) for entry_id in ids]
        stream = keys.events(shard)
        replies = await self._store.run(
            answered + [("XRANGE", stream, entry_id, entry_id) for entry_id in ids]
        )
        rows = zip(entries, replies[: len(ids)], replies[len(ids) :], strict=True)
        left = [(entry, members) for entry, members, found in rows if found != []]
        return [entry for entry, _ in left], [members for _, members in left]

    async def failed(self, shard: int, entry_id: str, error: Exception) -> None:
        """An event that comes for the first time could not be made into MESSAGEs: it will come again."""
        try:
            await self._count(shard, [entry_id])
            await self._failed(shard, entry_id, error, 1)
        except StoreUnreachable:
            self._source.resync(shard, AGAIN_SECONDS)

    async def _failed(self, shard: int, entry_id: str, error: Exception, attempts: int) -> None:
        reason = f"{type(error).__name__}: {error}"
        log.error("an event cannot be rendered", shard=shard, entry=entry_id, reason=reason)
        if attempts < self._max_attempts:
            self._source.resync(shard, AGAIN_SECONDS)
        else:
            await self._bury(shard, entry_id, reason)

    async def _bury(self, shard: int, entry_id: str, reason: str) -> None:
        self._counts.poisoned.value += 1
        await self._store.run(
            [
                bury(self._store, shard, entry_id, reason, self._wall()),
                ("DEL", keys.attempts(shard, "out", entry_id)),
            ]
        )

    async def _count(self, shard: int, ids: Sequence[str]) -> None:
        counters = [keys.attempts(shard, "out", entry_id) for entry_id in ids]
        increments: list[Command] = [("INCR", counter) for counter in counters]
        await self._store.run(increments + [("PEXPIRE", counter, ATTEMPTS_TTL_MS) for counter in counters])

    async def _uncount(self, shard: int, ids: Sequence[str]) -> None:
        await self._store.run([("DEL", keys.attempts(shard, "out", entry_id)) for entry_id in ids])


def bury(store: ScriptRunner, shard: int, entry_id: str, reason: str, now: float) -> Command:
    """The command that moves an event to the shard's dead letters."""
    return store.script(
        "move_to_dead_letters", [keys.events(shard), keys.dead(shard)], [entry_id, reason, int(now * 1000)]
    )
