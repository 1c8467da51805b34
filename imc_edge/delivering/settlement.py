"""Tells Redis how deliveries ended: whole events by the hundred, half-done ones every 200 ms at the latest.

One flusher for all: what ends while its pipeline is in the air, and shortly after, goes into the next one
(group commit). Every command may be repeated without harm.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from imc_common import keys
from imc_common.rooms.request import RequestData
from imc_common.scripts import Command
from imc_common.steps import Steps
from imc_common.store import ReplyError, StoreUnreachable
from imc_common.store.protocols import ScriptRunner
from imc_edge.delivering.counts import DeliveryCounts
from imc_edge.delivering.outcome import receipt_due
from imc_edge.delivering.outgoing import Outgoing
from imc_edge.delivering.takeover import bury

log = structlog.get_logger()

SETTLED_TTL_MS: Final = 24 * 3600 * 1000
"""For so long a half-delivered event remembers who answered, should all edges be gone."""
SIGHTINGS: Final = 3
"""Turns of the sweep (50 ms each) after which the answers of an event still open are recorded."""
NOTHING: Final = RequestData()
MOST_IDS: Final = 500
MOST_COMMANDS: Final = 500
GATHER_SECONDS: Final = 0.005
"""Redis answers so fast that a pipeline in the air gathers next to nothing. Nobody waits for settling."""
RETRY_SECONDS: Final = 0.25


@dataclass(slots=True)
class _Work:
    """One command, and the events that are settled once it has run."""

    command: Command
    about: Sequence[Outgoing]
    complete: bool


class Settlement:
    """All events in flight, by shard, and the way out for each."""

    def __init__(
        self,
        store: ScriptRunner,
        counts: DeliveryCounts,
        wall: Callable[[], float],
        undelivered_max: int,
        max_attempts: int,
        *,
        steps: Steps,
    ) -> None:
        self._store = store
        self._counts = counts
        self._wall = wall
        self._steps = steps
        self._undelivered_max = undelivered_max
        self._max_attempts = max_attempts
        self.in_flight: dict[int, dict[str, Outgoing]] = {}
        """Shard to entry id to event, until Redis has confirmed its end."""
        self._young: dict[Outgoing, None] = {}
        """Those the sweep looks at, in their order; what is settled before is taken out."""
        self._half_done: list[Outgoing] = []
        self._finished: list[Outgoing] = []
        self._again: list[_Work] = []
        self._attempts: Counter[tuple[int, str]] = Counter()
        self._wake = asyncio.Event()

    def add(self, outgoing: Outgoing) -> None:
        """An event is about to be sent."""
        event = outgoing.event
        self.in_flight.setdefault(event.shard, {})[event.entry_id] = outgoing
        self._young[outgoing] = None
        if not outgoing.open:
            self._finish(outgoing)

    def answered(self, outgoing: Outgoing, address: str) -> None:
        """One recipient answered 2xx."""
        outgoing.answered.append(address)
        outgoing.open -= 1
        if not outgoing.open:
            self._finish(outgoing)
        elif outgoing.quiet:
            self._stir(outgoing)

    def lost(self, outgoing: Outgoing, address: str, outcome: str) -> None:
        """The delivery to one recipient is given up."""
        outgoing.failed.append((address, outcome))
        outgoing.open -= 1
        if not outgoing.open:
            self._finish(outgoing)
        elif outgoing.quiet:
            self._stir(outgoing)

    def sweep(self) -> None:
        """To be called every 50 ms: have the answers recorded of events that stay open."""
        young: dict[Outgoing, None] = {}
        for outgoing in self._young:
            if not outgoing.open or outgoing.abandoned:
                continue
            outgoing.sightings += 1
            if outgoing.sightings < SIGHTINGS:
                young[outgoing] = None
                continue
            outgoing.quiet = True
            # it may wait for long now, and the parts hold all that is still to be sent
            outgoing.event = outgoing.event._replace(to=(), data=NOTHING)
            if outgoing.answered or outgoing.failed:
                self._half_done.append(outgoing)
                self._wake.set()
        self._young = young

    def abandon(self, owned: frozenset[int]) -> None:
        """Let go of all events of shards that are not owned any more: their new owners go on with them."""
        for shard in [shard for shard in self.in_flight if shard not in owned]:
            events = self.in_flight.pop(shard)
            for outgoing in events.values():
                outgoing.abandoned = True
            if events:
                log.warning("deliveries left to the shard's next owner", shard=shard, events=len(events))

    def count(self, shard: int | None = None) -> int:
        """Events in flight, of one shard or of all."""
        if shard is not None:
            return len(self.in_flight.get(shard, ()))
        return sum(map(len, self.in_flight.values()))

    async def run(self) -> None:
        """Settle until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.flush()
            await asyncio.sleep(GATHER_SECONDS)

    async def flush(self) -> None:
        """Send what there is to record now, in one pipeline; what fails is kept for the next one."""
        work = self._gather()
        if not work:
            return
        try:
            replies = await self._store.run([each.command for each in work])
        except StoreUnreachable:
            self._again += work
            await self._pause()
            return
        refused = False
        for each, reply in zip(work, replies, strict=True):
            if isinstance(reply, ReplyError):
                refused = True
                self._refused(each, reply)
            elif each.complete:
                self._confirm(each)
        if refused:
            await self._pause()

    def record_all(self) -> None:
        """Have recorded now whatever is known of events that stay open: the process is about to end."""
        for events in self.in_flight.values():
            self._half_done += [each for each in events.values() if each.open]
        self._wake.set()

    def _finish(self, outgoing: Outgoing) -> None:
        self._finished.append(outgoing)
        self._wake.set()

    def _stir(self, outgoing: Outgoing) -> None:
        outgoing.quiet = False
        outgoing.sightings = 0
        self._young[outgoing] = None

    def _gather(self) -> list[_Work]:
        """Commands for all that has ended since, the refused ones first."""
        work, self._again = self._again[:MOST_COMMANDS], self._again[MOST_COMMANDS:]
        finished, self._finished = self._finished, []
        half_done, self._half_done = self._half_done, []
        if self._steps.on:
            self._note(finished + half_done)
        clean: dict[int, list[Outgoing]] = {}
        for outgoing in finished:
            if outgoing.recorded or outgoing.failed:
                work.append(self._settle(outgoing, complete=True))
            elif not outgoing.abandoned:
                clean.setdefault(outgoing.event.shard, []).append(outgoing)
                self._counts.deliveries["200"] += len(outgoing.answered)
        for outgoing in half_done:
            if outgoing.open and (outgoing.answered or outgoing.failed):
                work.append(self._settle(outgoing, complete=False))
        for shard, events in clean.items():
            for first in range(0, len(events), MOST_IDS):
                some = events[first : first + MOST_IDS]
                ids: list[str | bytes | int] = [each.event.entry_id for each in some]
                command = self._store.script("settle_delivered", [keys.events(shard)], ids)
                work.append(_Work(command, some, complete=True))
        if self._again:
            self._wake.set()
        return work

    def _note(self, ended: list[Outgoing]) -> None:
        for outgoing in ended:
            event = outgoing.event
            about: dict[str, str | int] = {"type": event.name, "open": outgoing.open}
            if outgoing.answered:
                self._steps.note("delivered", event.room, outgoing.answered, event.call_id, **about)
            for address, outcome in outgoing.failed:
                about["outcome"] = outcome
                self._steps.note("not delivered", event.room, (address,), event.call_id, **about)

    def _settle(self, outgoing: Outgoing, *, complete: bool) -> _Work:
        """The command that records what is known of one event by recipient."""
        event = outgoing.event
        outcomes: list[str | bytes | int] = []
        for address in outgoing.answered:
            outcomes += (address, "200", "0")
        for address, outcome in outgoing.failed:
            due = receipt_due(event.name, outcome)
            outcomes += (address, outcome, "1" if due else "0")
            self._counts.receipts.value += due
            self._counts.deliveries[outcome] += 1
        self._counts.deliveries["200"] += len(outgoing.answered)
        outgoing.answered, outgoing.failed = [], []
        outgoing.recorded = True
        shard, entry_id = event.shard, event.entry_id
        return _Work(
            self._store.script(
                "settle",
                [
                    keys.events(shard),
                    keys.requests(shard),
                    keys.settled(shard, entry_id),
                    keys.undelivered(shard),
                ],
                [entry_id, int(complete), SETTLED_TTL_MS, self._undelivered_max, *outcomes],
            ),
            (outgoing,),
            complete,
        )

    def _confirm(self, work: _Work) -> None:
        now = self._wall()
        for outgoing in work.about:
            event = outgoing.event
            self._young.pop(outgoing, None)
            if not outgoing.abandoned and self.in_flight[event.shard].pop(event.entry_id, None) is not None:
                self._counts.events.value += 1
                if event.at:
                    self._counts.latency.observe(max(0.0, now - event.at / 1000))

    def _refused(self, work: _Work, error: ReplyError) -> None:
        """Redis refused a command: again later; but if it is the event's own fault, not for ever."""
        self._again.append(work)
        if error.transient:
            return
        for outgoing in work.about:
            event = outgoing.event
            name = (event.shard, event.entry_id)
            self._attempts[name] += 1
            if self._attempts[name] == self._max_attempts:
                log.error(
                    "an event cannot be settled",
                    shard=event.shard,
                    entry=event.entry_id,
                    reason=str(error),
                    call_id=event.call_id,
                )
                work.command = bury(self._store, event.shard, event.entry_id, str(error), self._wall())
                work.complete = True
                self._counts.poisoned.value += 1
                del self._attempts[name]

    async def _pause(self) -> None:
        await asyncio.sleep(RETRY_SECONDS)
        self._wake.set()
