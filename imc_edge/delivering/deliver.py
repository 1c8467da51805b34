"""From the out-streams to the recipients: reads events, has them rendered, sent and settled.

Deliveries have no task or timer of their own: a response or a turn of the timer wheel moves each one on.
Reading is held back when too much is in flight to recipients that answer; those that do not answer count
apart and have bounds of their own, so that a room of them holds up nobody else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import random
from typing import Final

import structlog

from imc_common.logs import about
from imc_common.metrics import Metrics
from imc_common.rooms.event import Event
from imc_common.rooms.request import call_id_of
from imc_common.rooms.texts import OVER_LIMIT, render
from imc_common.settings import Settings
from imc_common.shards.consumer import Batch, Consumer
from imc_common.shards.ownership import Ownership
from imc_common.steps import Steps
from imc_common.store import Store, StoreUnreachable
from imc_edge.delivering.counts import DeliveryCounts
from imc_edge.delivering.courier import Courier
from imc_edge.delivering.credentials import Credentials
from imc_edge.delivering.fan_out import FanOut
from imc_edge.delivering.notice_limit import NoticeLimit
from imc_edge.delivering.outbound import Part, make_part, request_to
from imc_edge.delivering.outgoing import Outgoing
from imc_edge.delivering.recipient import Load, Recipient
from imc_edge.delivering.recipients import Recipients
from imc_edge.delivering.settlement import Settlement
from imc_edge.delivering.takeover import AGAIN_SECONDS, Takeover
from imc_edge.delivering.timer_wheel import TICK, TimerWheel
from imc_edge.delivering.transaction import ClientTransactions
from imc_edge.flow import Transports
from imc_edge.identifiers import Identities
from imc_edge.routing.back_off import HoldOff
from imc_edge.routing.destinations import Destinations
from imc_edge.routing.next_hop import NextHops
from imc_edge.routing.own_addresses import OwnAddresses
from imc_edge.routing.resolver import Resolver

log = structlog.get_logger()

KEPT_RECIPIENTS: Final = 20_000
"""Recipients that may stay remembered between deliveries; a new one costs a microsecond more."""
BREATH: Final = 64
"""Deliveries sent in one go; then answers get their turn."""
FULL_SECONDS: Final = 0.002


class Deliver:
    """The sending side of an edge. Run `run`, feed `response`, end with `drain`."""

    def __init__(
        self,
        *,
        store: Store,
        consumer: Consumer,
        ownership: Ownership,
        transports: Transports,
        resolver: Resolver,
        own: OwnAddresses,
        settings: Settings,
        clock: Callable[[], float],
        metrics: Metrics,
        steps: Steps,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.clock = clock
        self.load = Load()
        self.reload(settings)
        self._store = store
        self._consumer = consumer
        self._ownership = ownership
        self._wall = wall
        self._steps = steps
        self._identities = Identities(store.secret)
        self._counts = DeliveryCounts(metrics)
        self._wheel = TimerWheel(clock)
        self._transactions = ClientTransactions(transports, self._wheel, self._counts)
        destinations = Destinations(
            settings.destination_networks,
            settings.destination_networks_denied,
            settings.destination_domains,
        )
        self._next_hops = NextHops(resolver, settings.outbound_proxy, destinations, own, clock)
        self._recipients = Recipients(self._make_recipient, KEPT_RECIPIENTS)
        self._settlement = Settlement(
            store, self._counts, wall, settings.undelivered_max, settings.max_attempts, steps=steps
        )
        self._takeover = Takeover(
            store, consumer, self._counts, max_attempts=settings.max_attempts, wall=wall
        )
        credentials = Credentials(settings.credentials)
        hold_off = HoldOff(clock)
        self.courier = Courier(
            transactions=self._transactions,
            transports=transports,
            next_hops=self._next_hops,
            credentials=credentials,
            wheel=self._wheel,
            clock=clock,
            random=random,
            hold_off=hold_off,
        )
        self._fan_out = FanOut(self, self._transactions, hold_off, self._wheel)
        self.answered = self._settlement.answered
        self.lost = self._settlement.lost
        self.response = self._transactions.receive
        """To be called with every response that comes in."""
        self._notices = NoticeLimit(clock)
        self._notices_left_out = metrics.counter(
            "imc_notices_left_out", "Refusals that senders were not told of: it was too many."
        )
        self._in_hand: frozenset[tuple[int, bytes]] = frozenset()
        """What was read last (shard, entry id): part of it may still wait to be started."""
        self._reading = True
        self._drained = asyncio.Event()
        self._without_breath = 0

    async def run(self) -> None:
        """Deliver until `drain` has ended, or cancellation."""
        async with asyncio.TaskGroup() as tasks:
            background = [tasks.create_task(self._turn()), tasks.create_task(self._settlement.run())]
            await self._read()
            await self._drained.wait()
            for task in background:
                task.cancel()

    def reload(self, settings: Settings) -> None:
        """Go on with these settings."""
        self.queue_limit = settings.recipient_queue
        self.slow_limit = 20 * settings.max_in_flight
        self.unreachable_ttl = settings.unreachable_ttl
        self._most_transactions = 6 * settings.max_in_flight
        self._settings = settings
        self._headers = tuple(
            (line.partition(": ")[0], line.partition(": ")[2]) for line in settings.extra_hdrs
        )

    def in_flight(self, shard: int | None = None) -> int:
        """Events read and not settled, of one shard or of all; a shard with none may be given back."""
        return self._settlement.count(shard)

    def holds(self, shard: int, entry_id: bytes) -> bool:
        """Whether this event is among those in flight, or was read and waits for its turn."""
        return (shard, entry_id) in self._in_hand or (
            entry_id.decode() in self._settlement.in_flight.get(shard, ())
        )

    async def drain(self, deadline: float) -> None:
        """Read nothing more and finish what is in flight, until a time of the monotonic clock.

        What is not finished then is recorded as far as it is known, and left to the shards' next owners.
        """
        self._reading = False
        while self._settlement.count() and self.clock() < deadline:  # noqa: ASYNC110 # an end comes seldom
            await asyncio.sleep(TICK)
        self._settlement.record_all()
        await self._settlement.flush()
        self._next_hops.close()
        self._drained.set()

    def turns(self) -> int:
        """Turns of the timer wheel so far."""
        return self._wheel.tick

    def may_send(self, outgoing: Outgoing) -> bool:
        """Whether the event is still ours: an edge whose lease ran out sends nothing more of that shard."""
        return not outgoing.abandoned and outgoing.event.shard in self._ownership.owned()

    def turn(self) -> None:
        """What is to be done every 50 ms: let go of lost shards, run the timers, record what is half done."""
        self._settlement.abandon(self._ownership.owned())
        self._transactions.advance()
        self._settlement.sweep()

    async def _turn(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self.turn()

    async def _read(self) -> None:
        while self._reading:
            halted: set[int] = set()  # earlier entries of these shards will come again first
            if self._takeover.untidy:
                with suppress(StoreUnreachable):
                    await self._takeover.tidy()
            batches = await self._consumer.read()
            self._in_hand = frozenset((batch.shard, entry[0]) for batch in batches for entry in batch.entries)
            for batch in await self._safe_ones(batches):
                entries = [(entry_id.decode(), fields) for entry_id, fields in batch.entries]
                if batch.shard in halted:
                    continue
                if batch.again:
                    if not await self._take_over(batch.shard, entries):
                        halted.add(batch.shard)
                    continue
                for entry_id, fields in entries:
                    await self._take(batch.shard, entry_id, fields)
            self._in_hand = frozenset()
            await self._wait_for_room()

    async def _safe_ones(self, batches: Sequence[Batch]) -> Sequence[Batch]:
        """With `durability = replicas`: those that a replica has, the others are read again.

        An event that was sent out before any replica had it would be made anew after a failover, under
        another id, perhaps for others: a second copy that no recipient could tell from a new message.
        """
        if not batches or self._settings.durability != "replicas":
            return batches
        shards = {batch.shard for batch in batches}
        try:
            safe = await self._ownership.hold_durably(shards)
        except StoreUnreachable:
            safe = frozenset()
        for shard in shards - safe:
            self._consumer.resync(shard, AGAIN_SECONDS)
        return [batch for batch in batches if batch.shard in safe]

    async def _take(self, shard: int, entry_id: str, fields: list[bytes]) -> None:
        """An event that nobody has had before."""
        if not self._is_due(shard, entry_id):
            return
        try:
            event, parts = self._make(entry_id, shard, fields)
        except Exception as error:  # whatever it is, it must not stop the shard
            with about(call_id_of(fields)):
                await self._takeover.failed(shard, entry_id, error)
        else:
            await self._start(event, parts, event.to, repeat=False)

    async def _take_over(self, shard: int, entries: list[tuple[str, list[bytes]]]) -> bool:
        """Events that come again; those that are in flight here are not meant. False: Redis is away."""
        due = [entry for entry in entries if self._is_due(shard, entry[0])]
        try:
            taken = await self._takeover.prepare(shard, due, self._make)
        except StoreUnreachable:
            self._consumer.resync(shard, AGAIN_SECONDS)
            return False
        for event, parts, settled in taken:
            if self._is_due(shard, event.entry_id):
                to = [address for address in event.to if address not in settled]
                await self._start(event, parts, to, repeat=True)
        return True

    def _is_due(self, shard: int, entry_id: str) -> bool:
        return entry_id not in self._settlement.in_flight.get(shard, ()) and (
            shard in self._ownership.owned()
        )

    def _make(self, entry_id: str, shard: int, fields: list[bytes]) -> tuple[Event, list[Part]]:
        """An entry as the event and its MESSAGEs; raises all sorts of things if it is broken."""
        event = Event.from_fields(entry_id, shard, fields)
        headers = event.data.headers + self._headers
        return event, [
            make_part(self._identities.part(shard, entry_id, number), event, text, headers)
            for number, text in enumerate(render(event, self._settings))
        ]

    async def _start(self, event: Event, parts: list[Part], to: Sequence[str], *, repeat: bool) -> None:
        """Send an event to these recipients."""
        if event.name == "refused" and not self._may_be_told(event):
            self._notices_left_out.value += 1
            parts = []
        if not parts:
            to = ()  # there is nothing to tell
        actor = self._recipients.get(event.actor)
        if actor is not None and actor.held_until:
            actor.heard_from()
        outgoing = Outgoing(event, parts, len(to), repeat=repeat, deadline=self._deadline(event))
        if self._steps.on:
            self._steps.note("sending", event.room, (event.actor, *to), event.call_id, type=event.name)
        self._settlement.add(outgoing)
        await self._send(outgoing, to)

    def _may_be_told(self, event: Event) -> bool:
        """Of one refusal more. That a limit was passed comes once a minute, and must not get lost."""
        return event.reason in OVER_LIMIT or self._notices.allows(event.actor)

    def _deadline(self, event: Event) -> float | None:
        """When an event is no longer worth sending, by our own monotonic clock; None if it always is.

        Only the span is looked at, never the accepting edge's clock: it may not agree with ours. What it
        waited in Redis does not count; recipients see Date and Expires, and can tell.
        """
        expires_at = event.data.expires_at
        return None if expires_at is None else self.clock() + (expires_at - event.at) / 1000

    async def _send(self, outgoing: Outgoing, to: Sequence[str]) -> None:
        for first in range(0, len(to), BREATH):
            some = to[first : first + BREATH]
            self._fan_out.send(outgoing, self._recipients, some)
            self._without_breath += len(some)
            if self._without_breath >= BREATH:
                await self._wait_for_room()
                if not self.may_send(outgoing):  # lost meanwhile: the rest is the next owner's
                    self._settlement.abandon(self._ownership.owned())
                    return

    async def _wait_for_room(self) -> None:
        """Let answers come in; wait while too much is in flight."""
        self._without_breath = 0
        await asyncio.sleep(0)
        # an Event would have to be looked after with every single delivery
        while self._is_full():  # noqa: ASYNC110
            await asyncio.sleep(FULL_SECONDS)
        self._transactions.advance()

    def _is_full(self) -> bool:
        """Enough to do for those that answer, or more silent ones than memory should be spent on."""
        return (
            self.load.quick >= self._settings.max_in_flight
            or len(self._transactions) >= self._most_transactions
        )

    def _make_recipient(self, address: str) -> Recipient:
        share = self._identities.recipient(address)
        recipient = Recipient(address, share, request_to(address, share), self)
        self.courier.prepare(recipient)
        return recipient
