"""Takes over events that were read before, by this process or by one that they may have ended.

For each shard's events, in this order:

1. Read who has responded already, and whether the entry is still there. It may have been settled between
   being read and being looked at; then the record of who responded is deleted, too, and it must not be sent
   again.
2. Count an attempt in Redis *before* it is made, and take the count back after it. So an event that ends the
   process is found, too: its count stays.
3. Make the event into MESSAGEs and send them; both are part of the attempt. Events without a count share one
   attempt, which lasts a moment longer than the last of them takes to be sent. Those with a count were part
   of an attempt during which a process ended. So each of them is sent alone, until its recipients have
   responded or a moment has passed: none goes to the dead letters because of another.
4. An event that raises goes to the dead letters at once; one that ends the process, after `max_attempts`. The
   shard goes on without it.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple

import structlog

from imc_common import keys
from imc_common.keys import Keys
from imc_common.logs import about
from imc_common.rooms.event import PROBE, Event
from imc_common.rooms.request import call_id_of
from imc_common.scripts import Command
from imc_common.shards.consumer import Consumer
from imc_common.store import StoreUnreachable
from imc_common.store.errors import raise_if_transient
from imc_common.store.protocols import ScriptRunner
from imc_edge.delivering.absence import behind, missed_from, parse
from imc_edge.delivering.counts import DeliveryCounts
from imc_edge.delivering.outbound import MessageTemplate

log = structlog.get_logger()

AWAY_FIELD: Final = "away:"
"""With a user's address behind it, a field of the room's hash: the first message that the user has missed."""
ATTEMPTS_TTL_MS: Final = 24 * 3600 * 1000
_POSITION: Final = re.compile(rb"[0-9]+-[0-9]+").fullmatch
AGAIN_SECONDS: Final = 1.0
"""Pause before a shard is read again after an outage of Redis."""

Render = Callable[[str, int, list[bytes]], tuple[Event, list[MessageTemplate]]]
"""Makes an event's entry (id, shard, fields) into the event and its MESSAGEs; may raise anything."""

PROBATION_SECONDS: Final = 0.1
"""How long an attempt lasts after its events were sent: requests go out, and responses come in."""


class TakenOver(NamedTuple):
    """An event that may be sent, and the recipients that have responded already."""

    event: Event
    templates: list[MessageTemplate]
    settled: frozenset[str]


Send = Callable[[TakenOver, bool], Awaitable[None]]
"""Sends an event. If the second argument is true, it returns only when the attempt may end. May raise."""


Learn = Callable[[int], Awaitable[None]]
"""Learns what the former owner of the shard knew. May raise `StoreUnreachable`."""


class Takeover:
    """Sends events that come again; moves those that cannot be handled to the dead letters."""

    def __init__(
        self,
        store: ScriptRunner,
        consumer: Consumer,
        counts: DeliveryCounts,
        *,
        names: Keys,
        max_attempts: int,
        wall: Callable[[], float],
    ) -> None:
        self._store = store
        self._names = names
        self._consumer = consumer
        self._counts = counts
        self._max_attempts = max_attempts
        self._wall = wall
        self._interrupted: dict[int, list[str]] = {}
        """By shard, events whose count may be left in Redis: it became unreachable during an attempt."""
        self._on_probation: deque[tuple[float, int, list[str]]] = deque()
        """Time of the event loop, shard, and events whose shared attempt ends then."""

    async def handle(
        self,
        shard: int,
        entries: Sequence[tuple[str, list[bytes]]],
        render: Render,
        send: Send,
        *,
        learn: Learn,
    ) -> None:
        """Send those of a shard's entries that can be sent, in order. Raises `StoreUnreachable`.

        ``learn`` is called when it is known which of them are unfinished, and before any is sent.
        """
        await self.tidy()
        if any(each[1] == shard for each in self._on_probation):
            await self.finish()  # read again by ourselves: the counts say nothing about the events
        try:
            unfinished = await self._unfinished(shard, entries)
            await learn(shard)
            await self._handle(shard, *unfinished, render, send)
        except StoreUnreachable:
            self._interrupted[shard] = [entry_id for entry_id, _ in entries]
            raise

    async def missed_before(self, shard: int, events: Sequence[Event]) -> dict[str, frozenset[str]]:
        """By entry id, recipients that have missed an earlier message of the room, or this one; for a probe,
        one of which the worker did not know when it sent the probe.

        The former owner knew that nothing later may be sent to them. Raises `StoreUnreachable`.
        """
        replies = await self._store.run(
            [
                ("HMGET", self._names.room(shard, event.room), *[f"{AWAY_FIELD}{user}" for user in event.to])
                for event in events
            ]
        )
        missed = {}
        for reply in replies:
            raise_if_transient(reply)
        for event, reply in zip(events, replies, strict=True):
            positions = reply if isinstance(reply, list) else [None] * len(event.to)
            here = missed_from(event) if event.catch_up == PROBE else behind(parse(event.position))
            missed[event.entry_id] = frozenset(
                user
                for user, since in zip(event.to, positions, strict=True)
                if isinstance(since, bytes) and _POSITION(since) and parse(since.decode()) < here
            )
        return missed

    async def tidy(self) -> None:
        """Take back the counts that an outage left, also those of shards that were lost since, and those of
        attempts that have ended.

        Raises `StoreUnreachable`.
        """
        while self._interrupted:
            shard, ids = self._interrupted.popitem()
            try:
                await self._uncount(shard, ids)
            except StoreUnreachable:
                self._interrupted.setdefault(shard, ids)
                raise
        while self._on_probation and self._on_probation[0][0] <= asyncio.get_running_loop().time():
            await self._end_first_probation()

    async def finish(self) -> None:
        """Take back all counts now. Raises `StoreUnreachable`."""
        await self.tidy()
        while self._on_probation:
            await self._end_first_probation()

    async def _end_first_probation(self) -> None:
        # Taken out first: while the process drains, reading may be about to end the same one.
        probation = self._on_probation.popleft()
        _, shard, ids = probation
        try:
            await self._uncount(shard, ids)
        except StoreUnreachable:
            self._on_probation.appendleft(probation)
            raise

    @property
    def untidy(self) -> bool:
        """Whether there is something to `tidy`, now or soon."""
        return bool(self._interrupted or self._on_probation)

    async def _handle(
        self,
        shard: int,
        entries: Sequence[tuple[str, list[bytes]]],
        responded: Sequence[Any],
        render: Render,
        send: Send,
    ) -> None:
        """Count, render, send and count back, as the module's docstring says.

        ``responded`` has the reply to SMEMBERS for each entry. Raises `StoreUnreachable`.
        """
        ids = [entry_id for entry_id, _ in entries]
        tries = await self._store.run([("GET", keys.attempts(shard, "out", entry_id)) for entry_id in ids])
        counts = [int(count) if isinstance(count, bytes) and count.isdigit() else 0 for count in tries]
        # Most events come again only because their edge stopped. They share one attempt: one write before,
        # one after, however many they are.
        shared = [entry_id for entry_id, count in zip(ids, counts, strict=True) if not count]
        await self._count(shard, shared)
        for (entry_id, fields), members, count in zip(entries, responded, counts, strict=True):
            # Each counted attempt ended a process before it could take the count back. After the last one the
            # event is not rendered any more: it would end this process too.
            if count >= self._max_attempts:
                await self._to_dead_letters(shard, entry_id, f"{count} processes ended while handling it")
                continue
            # A suspect is tried alone, so if this process ends now only this count stays.
            if count:
                await self._count(shard, [entry_id])
            # RFC 3428 §8: who has responded 2xx has the message, and must not get it twice.
            settled = members if isinstance(members, list | set) else ()
            try:
                event, templates = render(entry_id, shard, fields)
                has_it = frozenset(member.decode() for member in settled)
                await send(TakenOver(event, templates, has_it), bool(count))
            except StoreUnreachable:
                raise
            except Exception as error:  # whatever it is, it must not stop the shard
                # Its count is deleted with the move to the dead letters.
                if entry_id in shared:
                    shared.remove(entry_id)
                with about(call_id_of(fields)):
                    await self._failed(shard, entry_id, error)
                continue
            if count:
                await self._uncount(shard, [entry_id])
        if shared:
            ends = asyncio.get_running_loop().time() + PROBATION_SECONDS
            self._on_probation.append((ends, shard, shared))

    async def _unfinished(
        self, shard: int, entries: Sequence[tuple[str, list[bytes]]]
    ) -> tuple[list[tuple[str, list[bytes]]], list[Any]]:
        """Those that are still in the stream, and the reply to SMEMBERS for each: who has responded.

        Entries that were settled in the meantime need no attempt: sent again, they would be duplicates.
        """
        ids = [entry_id for entry_id, _ in entries]
        # The set is deleted together with the entry. So it is read first: if the entry is still found after
        # that, the set was whole.
        settled: list[Command] = [("SMEMBERS", keys.settled(shard, entry_id)) for entry_id in ids]
        stream = keys.events(shard)
        replies = await self._store.run(
            settled + [("XRANGE", stream, entry_id, entry_id) for entry_id in ids]
        )
        for reply in replies:
            raise_if_transient(reply)
        rows = zip(entries, replies[: len(ids)], replies[len(ids) :], strict=True)
        left = [(entry, members) for entry, members, found in rows if found != []]
        return [entry for entry, _ in left], [members for _, members in left]

    async def failed(self, shard: int, entry_id: str, error: Exception) -> None:
        """An event that was read for the first time could not be made into MESSAGEs: it is a dead letter."""
        try:
            await self._failed(shard, entry_id, error)
        except StoreUnreachable:
            self._consumer.resync(shard, AGAIN_SECONDS)

    async def _failed(self, shard: int, entry_id: str, error: Exception) -> None:
        """Give an event up at once: rendering needs nothing but the entry, so it would fail again.

        Reading the shard again for it would delay everybody in the shard's rooms.
        """
        reason = f"{type(error).__name__}: {error}"
        log.error("event not rendered", shard=shard, entry=entry_id, reason=reason)
        await self._to_dead_letters(shard, entry_id, reason)

    async def _to_dead_letters(self, shard: int, entry_id: str, reason: str) -> None:
        self._counts.dead_letters.value += 1
        # In one pipeline: a count without an entry would stay until its time-to-live ends.
        await self._store.run(
            [
                to_dead_letters(self._store, shard, entry_id, reason, self._wall()),
                ("DEL", keys.attempts(shard, "out", entry_id)),
            ]
        )

    async def _count(self, shard: int, ids: Sequence[str]) -> None:
        counters = [keys.attempts(shard, "out", entry_id) for entry_id in ids]
        increments: list[Command] = [("INCR", counter) for counter in counters]
        await self._store.run(increments + [("PEXPIRE", counter, ATTEMPTS_TTL_MS) for counter in counters])

    async def _uncount(self, shard: int, ids: Sequence[str]) -> None:
        await self._store.run([("DEL", keys.attempts(shard, "out", entry_id)) for entry_id in ids])


def to_dead_letters(store: ScriptRunner, shard: int, entry_id: str, reason: str, now: float) -> Command:
    """The command that moves an event to the shard's dead letters."""
    return store.script(
        "move_to_dead_letters", [keys.events(shard), keys.dead(shard)], [entry_id, reason, int(now * 1000)]
    )
