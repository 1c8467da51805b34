"""From the out-streams to the recipients: reads events, has them rendered, sent and settled.

Deliveries have no task or timer of their own: a response or a turn of the timer wheel moves each one on.
Reading pauses while too much is in flight to responsive recipients. Deliveries to unresponsive ones count
apart and have limits of their own, so that a room of such members delays nobody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

import structlog

from imc_common.keys import shard_of
from imc_common.logs import about
from imc_common.presence import Presence
from imc_common.rooms.event import BYE, CATCH_UP, INVITE, OF_CONFERENCES, ROSTER, Event
from imc_common.rooms.request import call_id_of
from imc_common.rooms.texts import OVER_LIMIT
from imc_common.settings import Settings
from imc_common.shards.consumer import Batch, Consumer
from imc_common.store import StoreUnreachable
from imc_common.tracer import Tracer
from imc_edge.conference.dialog import Dialog
from imc_edge.delivering.absence import Absence, parse
from imc_edge.delivering.catch_ups import CatchUps
from imc_edge.delivering.counts import DeliveryCounts
from imc_edge.delivering.delivery_context import DeliveryContext
from imc_edge.delivering.event_renderer import EventRenderer
from imc_edge.delivering.fan_out import FanOut
from imc_edge.delivering.former_failures import FormerFailures
from imc_edge.delivering.invitations import Invitations
from imc_edge.delivering.late_reports import LateReports
from imc_edge.delivering.notice_limit import NoticeLimit
from imc_edge.delivering.outbound import MessageTemplate, UnsendableError
from imc_edge.delivering.outcome import NOT_SENT
from imc_edge.delivering.outgoing import Outgoing
from imc_edge.delivering.rosters import Rosters
from imc_edge.delivering.settlement import Settlement
from imc_edge.delivering.takeover import AGAIN_SECONDS, Learn, TakenOver, Takeover
from imc_edge.delivering.timer_wheel import TICK

log = structlog.get_logger()

SEND_BATCH: Final = 64
"""Deliveries sent in one go; then responses get their turn."""
ALONE_TURNS: Final = 2
"""Turns of the timer wheel for which an event that may end the process is alone in being sent, at most."""
NO_MESSAGES: Final = frozenset((CATCH_UP, *OF_CONFERENCES))
"""Events that are sent in another way than a MESSAGE, or not at all."""
NO_SESSION: Final = "gone-"
"""Begins the Call-ID of a BYE to a device that had no session with the room (`lua/include/dialog.lua`)."""
FULL_SECONDS: Final = 0.002
"""Pause between two looks whether reading may go on."""


class Deliver:
    """The delivering side of an edge. Run it and a `Ticker`, feed `response`, end with `drain`."""

    def __init__(
        self,
        context: DeliveryContext,
        consumer: Consumer,
        takeover: Takeover,
        former_failures: FormerFailures,
        catch_ups: CatchUps,
        *,
        late_reports: LateReports,
        rosters: Rosters,
        invitations: Invitations,
        settlement: Settlement,
        renderer: EventRenderer,
        fan_out: FanOut,
        counts: DeliveryCounts,
        tracer: Tracer,
        settings: Settings,
    ) -> None:
        self.context = context
        self.fan_out = fan_out
        self.response = context.transactions.receive
        """To be called with every response that comes in."""
        self._consumer = consumer
        self._owned = context.ownership.owned
        self._events = context.events
        self._settlement = settlement
        self._takeover = takeover
        self._former_failures = former_failures
        self._catch_ups = catch_ups
        self._late_reports = late_reports
        self._rosters = rosters
        self._invitations = invitations
        context.lost_dialog = self._say_farewell
        self._renderer = renderer
        self._counts = counts
        self._tracer = tracer
        self._notices = NoticeLimit(context.clock)
        self._durability = settings.durability
        self._hash_size = settings.hash_size
        self._being_read: frozenset[tuple[int, bytes]] = frozenset()
        """What was read last (shard, entry id): part of it may still wait to be started."""
        self._left_out: set[int] = set()
        """Shards that were lost while their part of the last read was started: the rest has to wait."""
        self._owned_before: frozenset[int] = frozenset()
        """Shards that were owned in the last turn."""
        self._reading = True
        self._drained = asyncio.Event()
        self._sent_in_batch = 0

    async def run(self) -> None:
        """Deliver until `drain` has ended, or cancellation."""
        async with asyncio.TaskGroup() as tasks:
            settling = tasks.create_task(self._settlement.run())
            beside = (self._catch_ups, self._rosters, self._invitations, self._invitations.strays)
            others = [tasks.create_task(each.run()) for each in (*beside, self._late_reports)]
            await self._read()
            await self._drained.wait()
            settling.cancel()
            for each in others:
                each.cancel()

    def reload(self, settings: Settings) -> None:
        """Go on with these settings."""
        self.context.reload(settings)
        self._renderer.reload(settings)
        self._catch_ups.reload(settings)
        self._rosters.reload(settings)
        self._settlement.keeps_history = self.context.keeps_history
        self._durability = settings.durability

    def presence(self, payload: bytes) -> None:
        """A user came back, or left: a message of the channel on which edges tell one another."""
        presence = Presence.parse(payload)
        if presence is None:
            return
        recipients = self.fan_out.recipients
        if presence.online:
            for each in recipients.of_user(presence.user):
                each.came_online()
        # Which device has left, nobody says. The proxy does, when something is sent to that one.
        elif (recipient := recipients.get(presence.user)) is not None:
            recipient.went_offline()

    def in_flight(self, shard: int | None = None) -> int:
        """Events read and not settled, of one shard or of all; a shard with none may be given back."""
        return self._events.count(shard)

    def holds(self, shard: int, entry_id: bytes) -> bool:
        """Whether this event is among those in flight, or was read and waits for its turn."""
        return (shard, entry_id) in self._being_read or (self._events.has(shard, entry_id.decode()))

    async def drain(self, deadline: float) -> None:
        """Read nothing more and finish what is in flight, until a time of the monotonic clock.

        What is not finished then is recorded as far as it is known, and left to the shards' next owners.
        """
        self._reading = False
        self._catch_ups.stop()
        self._rosters.stop()
        while self._events.count() and self.context.clock() < deadline:  # noqa: ASYNC110 # once in a life
            await asyncio.sleep(TICK)
        self._events.record_all()
        await self._settlement.flush(everything=True)
        with suppress(StoreUnreachable):
            await self._invitations.finish()
        with suppress(StoreUnreachable):
            await self._takeover.finish()
        self.context.courier.close()
        self._drained.set()

    def turn(self) -> bool:
        """To be called every 50 ms: abandon the events of lost shards, run the timers, record what is half
        delivered, log what failed.

        True if more timers are due (`ClientTransactions.advance`).
        """
        owned = self._owned()
        self._abandon(owned)
        self._left_out.update(shard for shard, _ in self._being_read if shard not in owned)
        self._former_failures.keep(owned)
        more = self.context.transactions.advance()
        self._invitations.turn()
        self._events.sweep()
        self.context.failure_log.turn()
        self.context.courier.turn()
        return more

    async def _read(self) -> None:
        while self._reading:
            halted: set[int] = set()  # earlier entries of these shards have to come again first
            if self._takeover.untidy:
                with suppress(StoreUnreachable):
                    await self._takeover.tidy()
            self._left_out.clear()
            batches = await self._consumer.read()
            self._being_read = frozenset(
                (batch.shard, entry[0]) for batch in batches for entry in batch.entries
            )
            for batch in await self._safe_ones(batches):
                if batch.shard not in halted and not await self._start_batch(batch):
                    halted.add(batch.shard)
            self._being_read = frozenset()
            await self._wait_until_not_full()

    async def _start_batch(self, batch: Batch) -> bool:
        """Send the events of one shard. False: Redis is unreachable, and the rest has to come again."""
        shard = batch.shard
        entries = [(entry_id.decode(), fields) for entry_id, fields in batch.entries]
        if not batch.again and self._has_former_failures(shard) and not await self._learn_all(shard):
            return False
        if batch.again or self._former_failures.may_concern(shard, entries[0][0]):
            learn = self._learn_former_failures if batch.again else _nothing
            return await self._take_over(shard, entries, learn)
        for entry in entries:
            entry_id, fields = entry
            if not self._is_due(shard, entry_id):
                continue
            # No coroutine for each event: it would cost as much as to send it.
            outgoing: Outgoing | None = None
            try:
                outgoing = self._new(shard, entry_id, fields)
                rest = self._start(outgoing, outgoing.event.to)
                if self._sent_in_batch >= SEND_BATCH:
                    await self._send_rest(outgoing, rest)
            except Exception as error:  # whatever it is, it must not stop the shard
                await self._fail_new(shard, entry, outgoing, error)
        return True

    async def _safe_ones(self, batches: Sequence[Batch]) -> Sequence[Batch]:
        """With `durability = replicas`: those that a replica has; the others are read again.

        An event that was sent out before any replica had it would be made anew after a failover, under
        another id, perhaps for others: a second copy that no recipient could tell from a new message.
        """
        if not batches or self._durability != "replicas":
            return batches
        shards = {batch.shard for batch in batches}
        try:
            safe = await self.context.ownership.hold_durably(shards)
        except StoreUnreachable:
            safe = frozenset()
        for shard in shards - safe:
            self._consumer.resync(shard, AGAIN_SECONDS)
        return [batch for batch in batches if batch.shard in safe]

    def _new(self, shard: int, entry_id: str, fields: list[bytes]) -> Outgoing:
        """The event of an entry that was never read before. Raises any error if it is broken."""
        event, templates = self._render(entry_id, shard, fields)
        return self._outgoing(event, templates, event.to, resent=False)

    async def _fail_new(
        self, shard: int, entry: tuple[str, list[bytes]], outgoing: Outgoing | None, error: Exception
    ) -> None:
        """A new event could not be sent, or only to some."""
        entry_id, fields = entry
        if outgoing is not None and self._events.has(shard, entry_id):
            self._events.forget(outgoing)
            outgoing.abandoned = True  # what was not sent of it is not sent any more
        with about(call_id_of(fields)):
            await self._takeover.failed(shard, entry_id, error)

    def _has_former_failures(self, shard: int) -> bool:
        """Whether not all is known that the shard's former owner knew."""
        return self.context.keeps_history and not self._former_failures.are_known(shard)

    async def _learn_all(self, shard: int) -> bool:
        """Learn it, before a new event. False: Redis is unreachable."""
        try:
            await self._learn_former_failures(shard)
        except StoreUnreachable:
            self._consumer.resync(shard, AGAIN_SECONDS)
            return False
        self._former_failures.noted(shard)
        return True

    async def _learn_former_failures(self, shard: int) -> None:
        """Learn what the shard's former owner knew, as far as it has told yet. Raises `StoreUnreachable`."""
        if not self.context.keeps_history:
            return
        is_new = self._former_failures.is_new(shard)
        failures = await self._former_failures.read(shard)
        now = self.context.clock()
        # what we know ourselves is from before another edge owned the shard
        for each in self.fan_out.recipients if is_new else ():
            if each.absence is not None:
                rooms = [room for room in each.absence.rooms if shard_of(room, self._hash_size) == shard]
                each.absence.forget(rooms)
        for user, room, position in failures:
            if (absence := self._absence_of(user)) is not None:
                absence.failed_before(room, parse(position), now)

    def _absence_of(self, user: str) -> Absence | None:
        """What is known of this user's absence, to be added to; None if nothing can be sent to the user."""
        recipients = self.fan_out.recipients
        try:
            recipient = recipients.get(user) or recipients.add(user)
        except UnsendableError:
            return None
        return recipient.close_short_way()

    async def _take_over(self, shard: int, entries: list[tuple[str, list[bytes]]], learn: Learn) -> bool:
        """Send events that come again, unless they are in flight here. False: Redis is unreachable."""
        due = [entry for entry in entries if self._is_due(shard, entry[0])]
        try:
            await self._takeover.handle(shard, due, self._render, self._start_again, learn=learn)
        except StoreUnreachable:
            self._consumer.resync(shard, AGAIN_SECONDS)
            return False
        return True

    async def _start_again(self, taken_over: TakenOver, alone: bool) -> None:
        """Send an event that was read before. If it is sent alone, wait until its recipients have responded,
        or a moment: an event that ends the process has done so by then.

        Raises `StoreUnreachable`.
        """
        event, templates, settled = taken_over
        shard, entry_id = event.shard, event.entry_id
        is_stored = self.context.is_stored(event)
        missed = await self._takeover.missed_before(shard, [event]) if is_stored else {}
        if not self._is_due(shard, entry_id):
            return
        to = [address for address in event.to if address not in settled]
        outgoing = self._outgoing(event, templates, to, resent=True)
        outgoing.settled = settled.difference(event.to)
        rest = self._start(outgoing, to, away=missed.get(entry_id, frozenset()))
        await self._send_rest(outgoing, rest)
        for _ in range(ALONE_TURNS if alone else 0):
            if not outgoing.pending:
                break
            await asyncio.sleep(TICK)

    def _is_due(self, shard: int, entry_id: str) -> bool:
        """Whether to start this event now. After one of a lost shard, no later one of the same read is due.

        The shard may be ours again by then. All of them are read again, in order.
        """
        if shard not in self._owned():
            self._left_out.add(shard)
        return shard not in self._left_out and not self._events.has(shard, entry_id)

    def _render(self, entry_id: str, shard: int, fields: list[bytes]) -> tuple[Event, list[MessageTemplate]]:
        """The event of an entry and its MESSAGEs. Raises any error if the entry is broken."""
        event = Event.from_fields(entry_id, shard, fields)
        if event.name == "refused" and not self._may_notify(event):
            self._counts.notices_left_out.value += 1
            return event, []
        return event, self._renderer.render(event)

    def _outgoing(
        self, event: Event, templates: list[MessageTemplate], to: Sequence[str], *, resent: bool
    ) -> Outgoing:
        """The event for these recipients; for none if there is nothing to send."""
        recipients = len(to) if templates else 0
        outgoing = Outgoing(
            event,
            templates,
            recipients,
            resent=resent,
            deadline=self._deadline(event),
            text_form=self._renderer.text_form(event),
        )
        if event.name in OF_CONFERENCES:
            outgoing.in_dialog = self._renderer.in_dialog(event)
            outgoing.recorded = True  # its outcome is recorded alone, never with those of others
        if self._tracer.enabled:
            self._tracer.record("sending", event.room, (event.actor, *to), event.call_id, type=event.name)
        return outgoing

    def _start(
        self, outgoing: Outgoing, to: Sequence[str], *, away: frozenset[str] = frozenset()
    ) -> Sequence[str]:
        """Send an event to these recipients, but not to those that are known to be away.

        Returns those that are left for `_send_rest`. If there is nothing to send, it only has to be settled.
        """
        event = outgoing.event
        if event.name in NO_MESSAGES:
            self._start_other(outgoing, to)
            return ()
        actor = self.fan_out.recipients.get(event.actor)
        if actor is not None and actor.is_remembered and not event.catch_up:
            actor.has_sent()
        self._events.add(outgoing)
        if not outgoing.pending:
            return ()
        if event.catch_up:
            self._catch_ups.started(outgoing)
        if away:
            for address in away.intersection(to):
                self._events.failed(outgoing, address, NOT_SENT)
                if (absence := self._absence_of(address)) is not None:
                    absence.failed(event, self.context.clock(), sent=False)
            to = [address for address in to if address not in away]
        return self._send_some(outgoing, to)

    def _start_other(self, outgoing: Outgoing, to: Sequence[str]) -> None:
        """Start what is no MESSAGE: a work item, or a request of a conference."""
        name, request = outgoing.event.name, outgoing.in_dialog
        if name == CATCH_UP:
            self._hand_out(outgoing)
            return
        if name == ROSTER:
            self._rosters.add(outgoing)
            return
        self._events.add(outgoing)
        for address in to:
            if name == INVITE and request is not None:
                self._invitations.add(outgoing, request, address)
                continue
            if name == BYE:
                self._invitations.bye_started(outgoing, address)
            self.fan_out.offer(outgoing, address)

    def _say_farewell(self, outgoing: Outgoing, device: str) -> bool:
        """The device has lost its session, but it may still show the room that its user is no member of.

        Whether the event is settled later."""
        event = outgoing.event
        had_session = not Dialog.parse(event.dialog).call_id.startswith(NO_SESSION)
        event = replace(event, name=INVITE, entry_id=f"{event.entry_id}.bye", text="", list="")
        return self._invitations.say_farewell(outgoing, event, device, had_session=had_session)

    def _hand_out(self, outgoing: Outgoing) -> None:
        """A user is back, and is to get the next part of what it missed."""
        for user in outgoing.event.to:
            recipient = self.fan_out.recipients.get(user)
            if recipient is not None:
                recipient.has_sent()
        outgoing.pending = 1  # until the part is in the out-stream
        self._events.add(outgoing)
        self._catch_ups.add(outgoing)

    def _may_notify(self, event: Event) -> bool:
        """Whether the sender is told of this refusal. That it passed a limit it is told once a minute, and
        that must not get lost among others.
        """
        return event.reason in OVER_LIMIT or self._notices.allows(event.actor)

    def _deadline(self, event: Event) -> float | None:
        """When the event expires (RFC 3428 §7), by our own monotonic clock; None: never.

        Only the span counts, because the accepting edge's clock may not agree with ours. The time that the
        event waited in Redis is not part of it; recipients see Date and Expires.
        """
        expires_at = event.data.expires_at
        if expires_at is None or event.catch_up:  # the history was just asked for what has not expired
            return None
        return self.context.clock() + (expires_at - event.at) / 1000

    def _abandon(self, owned: frozenset[int]) -> None:
        """Leave the events of lost shards to their new owners."""
        are_abandoned = self._events.abandon(owned)
        # an INVITE may outlive its event, if another device has accepted
        if are_abandoned or not owned >= self._owned_before:
            self._invitations.let_go()
        self._owned_before = owned

    def _send_some(self, outgoing: Outgoing, to: Sequence[str]) -> Sequence[str]:
        """Send to as many as go in one batch; returns the others. If there are some, the batch is full."""
        some = to[:SEND_BATCH]
        self.fan_out.send(outgoing, some)
        self._sent_in_batch += len(some)
        return to[SEND_BATCH:]

    async def _send_rest(self, outgoing: Outgoing, rest: Sequence[str]) -> None:
        """After each full batch let responses come in, then send the next one."""
        while self._sent_in_batch >= SEND_BATCH:
            await self._wait_until_not_full()
            if not self.context.may_send(outgoing):  # lost meanwhile: the new owner sends the rest
                self._abandon(self._owned())
                return
            if rest:
                rest = self._send_some(outgoing, rest)

    async def _wait_until_not_full(self) -> None:
        """Let responses come in; wait while too much is in flight."""
        self._sent_in_batch = 0
        await asyncio.sleep(0)
        # an Event would cost something with every single delivery
        while self.context.is_full():  # noqa: ASYNC110
            await asyncio.sleep(FULL_SECONDS)
        self.context.transactions.advance()


async def _nothing(shard: int) -> None:
    """What can be known of the shard is known."""


class Ticker:
    """Turns the timer wheel of a `Deliver`, and what else it does periodically."""

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver

    async def run(self) -> None:
        """Every 50 ms, until cancelled."""
        while True:
            await asyncio.sleep(TICK)
            more = self._deliver.turn()
            while more:
                await asyncio.sleep(0)  # responses and new events get their turn
                more = self._deliver.context.transactions.advance()
