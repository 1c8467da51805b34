"""Puts the parts of the delivering side together."""

from __future__ import annotations

from collections.abc import Callable
from random import random
from typing import Final

from imc_common.keys import Keys
from imc_common.settings import Settings
from imc_common.shards.owned_streams import OwnedStreams
from imc_common.store import Store
from imc_edge.delivering.catch_ups import CatchUps
from imc_edge.delivering.counts import DeliveryCounts
from imc_edge.delivering.courier import Courier
from imc_edge.delivering.credentials import Credentials
from imc_edge.delivering.deliver import Deliver
from imc_edge.delivering.delivery_context import DeliveryContext, ShardOwner
from imc_edge.delivering.event_renderer import EventRenderer
from imc_edge.delivering.fan_out import FanOut
from imc_edge.delivering.former_failures import FormerFailures
from imc_edge.delivering.in_flight import EventsInFlight
from imc_edge.delivering.invitations import Invitations
from imc_edge.delivering.invite_transaction import InviteTransactions
from imc_edge.delivering.late_reports import LateReports
from imc_edge.delivering.recipients import Recipients
from imc_edge.delivering.rosters import Rosters
from imc_edge.delivering.settlement import Settlement
from imc_edge.delivering.takeover import Takeover
from imc_edge.delivering.timer_wheel import TimerWheel
from imc_edge.delivering.transaction import ClientTransactions
from imc_edge.flow import Transports
from imc_edge.identifiers import DeliveryIds
from imc_edge.routing.back_off import BackOff
from imc_edge.routing.next_hop import NextHops

MAX_LONG_LIVED: Final = 20_000
"""Recipients that may stay remembered between deliveries; to make one costs a microsecond."""


def assemble(  # noqa: PLR0917 # the parts it connects
    settings: Settings,
    store: Store,
    streams: OwnedStreams,
    transports: Transports,
    next_hops: NextHops,
    clock: Callable[[], float],
    wall: Callable[[], float],
    redis_clock: Callable[[], float],
) -> Deliver:
    """The delivering side of an edge, ready to run.

    ``clock`` is monotonic. ``wall`` and ``redis_clock`` give seconds since the epoch; all edges share the
    latter.
    """
    counts = DeliveryCounts(streams.metrics)
    delivery_ids = DeliveryIds(store.secret)
    back_off = BackOff(clock)
    context = _context(
        settings, streams.ownership, transports, next_hops, counts=counts, back_off=back_off, clock=clock
    )
    names = Keys(settings.rooms_table, settings.members_table)
    takeover = Takeover(
        store, streams.consumer, counts, names=names, max_attempts=settings.max_attempts, wall=wall
    )
    settlement = Settlement(
        context.events,
        store,
        counts,
        undelivered_max=settings.undelivered_max,
        max_attempts=settings.max_attempts,
        keeps_history=settings.history_max_messages > 0,
        wall=wall,
        tracer=streams.tracer,
    )
    renderer = EventRenderer(delivery_ids, settings, redis_clock)
    invites = InviteTransactions(transports, context.wheel)
    context.transactions.otherwise = invites.receive
    invitations = Invitations(
        context,
        store,
        transports,
        next_hops,
        invites,
        Credentials(settings.credentials),
        delivery_ids,
        names=names,
        hash_size=settings.hash_size,
        request_of=renderer.in_dialog,
        random=random,
    )
    invites.otherwise = invitations.strays.receive
    fan_out = FanOut(context, Recipients(context, delivery_ids, MAX_LONG_LIVED), back_off)
    late_reports = LateReports(
        store, context.ownership.owned, lambda: fan_out.recipients, clock, hash_size=settings.hash_size
    )
    return Deliver(
        context,
        streams.consumer,
        takeover,
        FormerFailures(store),
        CatchUps(context, store, settings, streams.metrics, streams.tracer, wall=wall),
        late_reports=late_reports,
        rosters=Rosters(context, store, settings),
        invitations=invitations,
        settlement=settlement,
        renderer=renderer,
        fan_out=fan_out,
        counts=counts,
        tracer=streams.tracer,
        settings=settings,
    )


def _context(
    settings: Settings,
    ownership: ShardOwner,
    transports: Transports,
    next_hops: NextHops,
    *,
    counts: DeliveryCounts,
    back_off: BackOff,
    clock: Callable[[], float],
) -> DeliveryContext:
    """What all recipients share, with the courier that sends for them."""
    wheel = TimerWheel(clock)
    transactions = ClientTransactions(transports, wheel, counts)
    courier = Courier(
        transactions=transactions,
        transports=transports,
        next_hops=next_hops,
        credentials=Credentials(settings.credentials),
        wheel=wheel,
        clock=clock,
        random=random,
        back_off=back_off,
    )
    return DeliveryContext(
        settings,
        ownership=ownership,
        transactions=transactions,
        courier=courier,
        events=EventsInFlight(),
        wheel=wheel,
        clock=clock,
    )
