"""Records in Redis how deliveries ended: whole events by the hundred, half-delivered ones within 200 ms.

One flusher serves all events: what ends while its pipeline is in flight, and shortly after, goes into the
next one (group commit). Every command may run twice without harm, so one whose reply was lost is sent again.

An event leaves in one of three ways:

1. Every recipient responded 2xx, and Redis holds nothing about this event but the entry itself: then its id
   joins those of other such events in one `settle_delivered`, which deletes the entries. This is the usual
   case, and the only one whose cost must not depend on the number of recipients.
2. A delivery failed, part of the outcome was recorded before, or a worker waits for the outcome: then
   `settle` gets each recipient's outcome, writes those that a worker has to act on into the in-stream as
   reports, and deletes the entry. Who is away is noted before, and once more after, at the user
   (`imc_common.presence`). So the note is not lost to a sign of the user that comes in between.
3. The shard was lost: its new owner goes on with the entry. An event of the first kind is left to it; the
   outcomes of the second kind are still recorded, so that fewer recipients get the message twice.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from imc_common import client_devices, keys
from imc_common.devices import is_device, user_of
from imc_common.presence import note_away
from imc_common.rooms.delivery_reports import AWAY, consequence, is_stored
from imc_common.rooms.event import BYE, INVITE, NOTIFY, PROBE, REPORTED, Event
from imc_common.scripts import Command
from imc_common.store import ReplyError, StoreUnreachable
from imc_common.store.protocols import ScriptRunner
from imc_common.tracer import Tracer
from imc_edge.delivering.counts import DeliveryCounts
from imc_edge.delivering.in_flight import EventsInFlight
from imc_edge.delivering.outcome import AS_TEXT, REFUSED
from imc_edge.delivering.outgoing import Outgoing
from imc_edge.delivering.takeover import to_dead_letters

log = structlog.get_logger()

SETTLED_TTL_MS: Final = 24 * 3600 * 1000
"""How long a half-delivered event remembers who responded, if no edge runs meanwhile."""
MAX_IDS: Final = 500
"""Entries that one `settle_delivered` deletes."""
MAX_FAILED: Final = 64
"""Failed deliveries that one pipeline records. Most become reports, each a script of the shard's worker. If a
whole room is silent, more of them at once would delay messages to other rooms of the shard."""
MAX_COMMANDS: Final = 500
"""Commands of one pipeline that are sent again after a failure."""
GATHER_SECONDS: Final = 0.005
"""Pause after each pipeline. Redis replies so fast that next to nothing ends while one is in flight, and
nobody waits for the record."""
RETRY_SECONDS: Final = 0.25


@dataclass(slots=True)
class _Write:
    """One command, and the events that are settled once it has run."""

    command: Command
    events: Sequence[Outgoing]
    complete: bool
    """Whether the command ends the events; otherwise it records a part of the outcomes."""
    failed: Sequence[str] = ()
    """Recipients whose failure it records, of the only event."""


class Settlement:
    """Records the outcomes of the events in flight."""

    def __init__(
        self,
        events: EventsInFlight,
        store: ScriptRunner,
        counts: DeliveryCounts,
        *,
        undelivered_max: int,
        max_attempts: int,
        keeps_history: bool,
        wall: Callable[[], float],
        tracer: Tracer,
    ) -> None:
        """``wall`` gives seconds since the epoch."""
        self._events = events
        self._wake = events.something_to_record
        self._store = store
        self._counts = counts
        self._wall = wall
        self._tracer = tracer
        self._undelivered_max = undelivered_max
        self._max_attempts = max_attempts
        self._again: list[_Write] = []
        self._attempts: Counter[tuple[int, str]] = Counter()
        self._away: dict[str, set[int]] = {}
        """Users that are away, and the shards whose reports say so: to be noted before these are written."""
        self._unreached: set[str] = set()
        """Users with a device that was invited in vain: its next REGISTER leads to another INVITE."""
        self._away_again: dict[str, set[int]] = {}
        """The same after that."""
        self.keeps_history = keeps_history
        """Whether rooms keep messages."""

    async def run(self) -> None:
        """Settle until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.flush()
            await asyncio.sleep(GATHER_SECONDS)

    async def flush(self, *, everything: bool = False) -> None:
        """Send what there is to record now, in one pipeline; what fails is kept for the next one.

        Unless it is to be ``everything``, more than `MAX_FAILED` failures are left for the next one, too.
        """
        writes = self._gather(sys.maxsize if everything else MAX_FAILED)
        if not writes and not self._away_again:
            return
        refused = False
        try:
            refused = await self._note_away()
            replies = await self._store.run([each.command for each in writes]) if writes else []
        except StoreUnreachable:
            # Every command may be repeated: a script that did run finds its entry gone, or its recipients
            # settled.
            self._again += writes
            await self._pause()
            return
        except Exception as error:  # whatever it is, one of the commands is the reason
            replies = await self._run_each(writes, error)
        for each, reply in zip(writes, replies, strict=True):
            if isinstance(reply, Exception):
                refused = True
                self._refused(each, reply)
            elif each.complete:
                self._confirm(each)
            else:
                self._events.recorded(each.events[0], each.failed)
        if refused:
            await self._pause()

    async def _note_away(self) -> bool:
        """Note who is away, before the reports say so; and once more what was noted for the last ones.

        Returns whether Redis refuses some of it for now, as when its memory is full: that is tried again. Any
        other error does no harm: without the note, probes find out that the user is back. Raises
        StoreUnreachable.
        """
        if not self._away and not self._away_again:
            return False
        if self._unreached:
            await self._store.run([each for user in self._unreached for each in client_devices.count(user)])
            self._unreached = set()
        for user, shards in self._away.items():
            self._away_again.setdefault(user, set()).update(shards)
        noted = [*self._away_again.items()]
        replies = await self._store.run([note_away(user, sorted(each)) for user, each in noted])
        self._away, self._away_again = {}, self._away
        if self._away_again:
            self._wake.set()
        refused = [
            each
            for each, reply in zip(noted, replies, strict=True)
            if isinstance(reply, ReplyError) and reply.transient
        ]
        for user, shards in refused:
            self._away_again.setdefault(user, set()).update(shards)
        return bool(refused)

    async def _run_each(self, writes: Sequence[_Write], error: Exception) -> list[Any]:
        """The reply to each command sent alone, or its error: one must not stop the others."""
        log.error("outcomes are recorded one by one", reason=f"{type(error).__name__}: {error}")
        replies: list[Any] = []
        for each in writes:
            try:
                replies += await self._store.run([each.command])
            except Exception as reason:  # also StoreUnreachable: the command is sent again
                replies.append(reason)
        return replies

    def _gather(self, max_failed: int) -> list[_Write]:
        """Commands for all that has ended since the last time; those to be sent again come first."""
        # What failed comes first: its events are the oldest, and their shards cannot be released before.
        writes, self._again = self._again[:MAX_COMMANDS], self._again[MAX_COMMANDS:]
        events = self._events
        ended, events.ended = events.ended, []
        half_delivered, events.half_delivered = events.half_delivered, []
        delivered: dict[int, list[Outgoing]] = {}
        others: list[Outgoing] = []
        for outgoing in ended:
            # `settle_delivered` names no recipients. It is right only if none failed, and if Redis holds no
            # set of settled recipients that has to be deleted with the entry.
            if outgoing.recorded or outgoing.failed or outgoing.event.catch_up in REPORTED:
                others.append(outgoing)
            # The shard was lost and every response was a 2xx: the new owner settles the entry after it has
            # sent it again. Recipients know the copy by its Call-ID and CSeq (RFC 3261 §8.2.2.2).
            elif not outgoing.abandoned:
                delivered.setdefault(outgoing.event.shard, []).append(outgoing)
                self._counts.deliveries["200"] += len(outgoing.delivered)
                self._note(outgoing, 0)
        # A half-delivered event waits for slow recipients, up to Timer F and longer. What is known is
        # recorded now, so that after a crash the new owner sends only to those who have not responded.
        others += [each for each in half_delivered if each.pending and (each.delivered or each.failed)]
        failures = self._gather_others(others, max_failed)
        # Before the failures. If only the first commands run, nothing seems open that was delivered before
        # something else failed: a new owner of the shard would send it again.
        for whole in delivered.values():
            for first in range(0, len(whole), MAX_IDS):
                some = whole[first : first + MAX_IDS]
                writes.append(self._settle_delivered(some))
        if self._again:
            self._wake.set()
        return writes + failures

    def _gather_others(self, others: Sequence[Outgoing], max_failed: int) -> list[_Write]:
        """A command for each of these; with too many failures some are left for the next time, or parts."""
        writes: list[_Write] = []
        for outgoing in others:
            if max_failed > 0:
                self._note(outgoing, max_failed)
                write = self._settle_or_move(outgoing, max_failed)
                max_failed -= len(write.failed)
                writes.append(write)
                if write.complete or not outgoing.failed:
                    continue
            left = self._events.half_delivered if outgoing.pending else self._events.ended
            left.append(outgoing)
            self._wake.set()
        return writes

    def _settle_delivered(self, events: Sequence[Outgoing]) -> _Write:
        """The command that deletes these events of one shard, which all recipients have got."""
        ids: list[str | bytes | int] = [each.event.entry_id for each in events]
        command = self._store.script("settle_delivered", [keys.events(events[0].event.shard)], ids)
        return _Write(command, events, complete=True)

    def _settle_or_move(self, outgoing: Outgoing, max_failed: int) -> _Write:
        """The command that records this event; if its outcomes cannot be written, it is a dead letter."""
        try:
            return self._settle(outgoing, max_failed)
        except Exception as error:  # whatever it is, it must not stop other events
            write = _Write(("PING",), (outgoing,), complete=True)
            self._to_dead_letters(write, error)
            return write

    def _note(self, outgoing: Outgoing, max_failed: int) -> None:
        if not self._tracer.enabled:
            return
        event = outgoing.event
        about: dict[str, str | int] = {"type": event.name, "open": outgoing.pending}
        if outgoing.delivered:
            self._tracer.record("delivered", event.room, outgoing.delivered, event.call_id, **about)
        for address, outcome in outgoing.failed[:max_failed]:
            about["outcome"] = outcome
            step = "delivered" if outcome == AS_TEXT else "not delivered"
            self._tracer.record(step, event.room, (address,), event.call_id, **about)

    def _settle(self, outgoing: Outgoing, max_failed: int) -> _Write:
        """The command that records what is known of one event, by recipient: no more failures than this."""
        event = outgoing.event
        outcomes: list[str | bytes | int] = []
        failed, left = outgoing.failed[:max_failed], outgoing.failed[max_failed:]
        complete = not left and not outgoing.pending
        # A report costs a script of a worker, so only failures that change a room or tell a sender something
        # get one; and whatever became of a message after which the worker goes on with the history.
        is_reported = event.catch_up in REPORTED or event.name in {BYE, NOTIFY}
        history = self.keeps_history and (is_stored(event) or event.name == "invited")
        for address in outgoing.delivered:
            outcomes += (address, "200", "1" if is_reported else "0")
            self._count_refused(event)
            self._counts.reports.value += is_reported
        for address, outcome in failed:
            follows = consequence(event.name, outcome, event.catch_up, history=history)
            needs_report = is_reported or follows is not None
            outcomes += (address, outcome, "1" if needs_report else "0")
            self._counts.reports.value += needs_report
            if outcome not in AWAY and outcome[:3].isdigit():
                self._count_refused(event)
            # a probe of somebody who is still away is no failure that anybody should be told of
            self._counts.deliveries[PROBE if event.catch_up == PROBE else outcome] += 1
            if follows in {"mark_away", "keep_farewell"} or (event.name == NOTIFY and outcome in AWAY):
                self._away.setdefault(user_of(address), set()).add(event.shard)
                if event.name == INVITE and is_device(address):
                    self._unreached.add(user_of(address))
            if needs_report and not complete:
                outgoing.reported.append((address, outcome))
        if complete:  # a recipient that Redis knows counts once
            for address, outcome in outgoing.reported:
                outcomes += (address, outcome, "1")
        self._counts.deliveries["200"] += len(outgoing.delivered)
        # Recorded outcomes are forgotten here, so a later `settle` of the event adds only what is new. From
        # now on Redis holds a set for it: the short `settle_delivered` is no longer right.
        outgoing.delivered, outgoing.failed = [], left
        outgoing.recorded = True
        shard, entry_id = event.shard, event.entry_id
        return _Write(
            self._store.script(
                "settle",
                [
                    keys.events(shard),
                    keys.requests(shard),
                    keys.settled(shard, entry_id),
                    keys.undelivered(shard),
                ],
                [entry_id, int(complete), SETTLED_TTL_MS, self._undelivered_max, event.call_id, *outcomes],
            ),
            (outgoing,),
            complete,
            [address for address, _ in failed],
        )

    def _count_refused(self, event: Event) -> None:
        """A probe has found its user there. Messages before it that the user could not take are given up."""
        if event.catch_up == PROBE and event.more:
            self._counts.deliveries[REFUSED] += event.more

    def _confirm(self, write: _Write) -> None:
        """Redis has settled these events: forget them, so that their shard may be given back."""
        now = self._wall()
        for outgoing in write.events:
            event = outgoing.event
            if self._attempts:  # it was refused before
                self._attempts.pop((event.shard, event.entry_id), None)
            # A command may have run twice, so only the first settlement of an event counts in the metrics.
            if self._events.forget(outgoing):
                self._counts.events.value += 1
                if event.at and not event.catch_up:
                    self._counts.latency.observe(max(0.0, now - event.at / 1000))

    def _refused(self, write: _Write, error: Exception) -> None:
        """Redis refused a command: send it again later.

        Unless the server's condition is the reason, the event itself is; after `max_attempts` refusals it
        goes to the dead letters, so that it does not block its shard for ever.
        """
        # A full, loading or read-only server says nothing about the event.
        if isinstance(error, StoreUnreachable) or (isinstance(error, ReplyError) and error.transient):
            self._again.append(write)
            return
        # One of several events is the reason: each gets a command of its own.
        if len(write.events) > 1:
            self._again += [self._settle_delivered([each]) for each in write.events]
            return
        self._again.append(write)
        event = write.events[0].event
        name = (event.shard, event.entry_id)
        self._attempts[name] += 1
        if self._attempts[name] == self._max_attempts:
            self._to_dead_letters(write, error)
            self._attempts.pop(name, None)

    def _to_dead_letters(self, write: _Write, error: Exception) -> None:
        """Make it the command that moves its event there."""
        event = write.events[0].event
        reason = str(error) if isinstance(error, ReplyError) else f"{type(error).__name__}: {error}"
        log.error(
            "event not settled, moved to the dead letters",
            shard=event.shard,
            entry=event.entry_id,
            reason=reason,
            call_id=event.call_id,
        )
        write.command = to_dead_letters(self._store, event.shard, event.entry_id, reason, self._wall())
        write.complete = True
        self._counts.dead_letters.value += 1

    async def _pause(self) -> None:
        await asyncio.sleep(RETRY_SECONDS)
        self._wake.set()
