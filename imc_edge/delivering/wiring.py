"""Puts the parts of the delivering side together."""

from __future__ import annotations

from collections.abc import Callable
from random import random
from typing import Final

from imc_common.metrics import Metrics
from imc_common.settings import Settings
from imc_common.shards.consumer import Consumer
from imc_common.shards.ownership import Ownership
from imc_common.store.protocols import ScriptRunner
from imc_common.tracer import Tracer
from imc_edge.delivering.counts import DeliveryCounts
from imc_edge.delivering.courier import Courier
from imc_edge.delivering.credentials import Credentials
from imc_edge.delivering.deliver import Deliver
from imc_edge.delivering.delivery_context import DeliveryContext
from imc_edge.delivering.event_renderer import EventRenderer
from imc_edge.delivering.fan_out import FanOut
from imc_edge.delivering.in_flight import EventsInFlight
from imc_edge.delivering.recipients import Recipients
from imc_edge.delivering.settlement import Settlement
from imc_edge.delivering.takeover import Takeover
from imc_edge.delivering.timer_wheel import TimerWheel
from imc_edge.delivering.transaction import ClientTransactions
from imc_edge.flow import Transports
from imc_edge.identifiers import DeliveryIds
from imc_edge.routing.back_off import BackOff
from imc_edge.routing.destinations import Destinations
from imc_edge.routing.next_hop import NextHops
from imc_edge.routing.own_addresses import OwnAddresses
from imc_edge.routing.resolver import Resolver

MAX_LONG_LIVED: Final = 20_000
"""Recipients that may stay remembered between deliveries; to make one costs a microsecond."""


def assemble(
    settings: Settings,
    *,
    store: ScriptRunner,
    secret: bytes,
    consumer: Consumer,
    ownership: Ownership,
    transports: Transports,
    resolver: Resolver,
    own: OwnAddresses,
    clock: Callable[[], float],
    wall: Callable[[], float],
    metrics: Metrics,
    tracer: Tracer,
) -> Deliver:
    """The delivering side of an edge, ready to run.

    ``secret`` is the one that all edges share (`Store.secret`). ``clock`` is monotonic, ``wall`` gives
    seconds since the epoch.
    """
    counts = DeliveryCounts(metrics)
    delivery_ids = DeliveryIds(secret)
    wheel = TimerWheel(clock)
    transactions = ClientTransactions(transports, wheel, counts)
    destinations = Destinations(
        settings.destination_networks, settings.destination_networks_denied, settings.destination_domains
    )
    back_off = BackOff(clock)
    courier = Courier(
        transactions=transactions,
        transports=transports,
        next_hops=NextHops(resolver, settings.outbound_proxy, destinations, own, clock),
        credentials=Credentials(settings.credentials),
        wheel=wheel,
        clock=clock,
        random=random,
        back_off=back_off,
    )
    events = EventsInFlight()
    settlement = Settlement(
        events,
        store,
        counts,
        undelivered_max=settings.undelivered_max,
        max_attempts=settings.max_attempts,
        wall=wall,
        tracer=tracer,
    )
    context = DeliveryContext(
        settings,
        ownership=ownership,
        transactions=transactions,
        courier=courier,
        events=events,
        wheel=wheel,
        clock=clock,
    )
    return Deliver(
        context,
        consumer,
        Takeover(store, consumer, counts, max_attempts=settings.max_attempts, wall=wall),
        settlement=settlement,
        renderer=EventRenderer(delivery_ids, settings),
        fan_out=FanOut(context, Recipients(context, delivery_ids, MAX_LONG_LIVED), back_off),
        counts=counts,
        tracer=tracer,
        settings=settings,
    )
