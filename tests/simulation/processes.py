"""The processes of a simulation: edges and workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, Protocol

from imc_common import keys
from imc_common.keys import Keys
from imc_common.metrics import Metrics
from imc_common.settings import Settings
from imc_common.shards.consumer import Consumer
from imc_common.shards.ownership import Ownership, Role
from imc_common.shards.recoverer import Recoverer
from imc_common.store import Store, StoreUnreachable
from imc_common.tracer import Tracer
from imc_edge.delivering.deliver import Ticker
from imc_edge.delivering.wiring import assemble
from imc_edge.flow import Flow, Hop, TransportUser
from imc_edge.health import Health
from imc_edge.identity.nonces import NonceKeys
from imc_edge.launcher import EVENTS_PER_READ
from imc_edge.receiving.acceptor import Acceptor
from imc_edge.redis_clock import RedisClock
from imc_edge.routing.next_hop import next_hops_of
from imc_edge.routing.own_addresses import OwnAddresses
from imc_edge.routing.resolver import Resolver
from imc_worker.all_shards import AllShards
from imc_worker.automatic_answers import AutomaticAnswers
from imc_worker.committer import Committer
from imc_worker.dispatcher import Dispatcher
from imc_worker.prober import Prober
from imc_worker.retrial import Retrial
from tests.simulation.redis import REPLY_SECONDS, Backend, Server
from tests.simulation.time import SimulatedLoop, Simulation

HASH_SIZE: Final = 2
LEASE_SECONDS: Final = 3.0
DRAIN_SECONDS: Final = 5.0


@contextmanager
def running_in(loop: SimulatedLoop) -> Iterator[None]:
    """Parts that are made here belong to this loop."""
    asyncio._set_running_loop(loop)
    try:
        yield
    finally:
        asyncio._set_running_loop(None)


class Process:
    """What edges and workers have alike."""

    def __init__(
        self, name: str, simulation: Simulation, server: Server, settings: Settings, *, nodes: int, role: Role
    ) -> None:
        self.alive = True
        self.simulation = simulation
        self.loop = simulation.new_loop()
        self.backend = Backend(server, self.loop, nodes)
        self.store = Store(self.backend, server.scripts, settings)
        self.store.secret = b"not so secret"
        self.metrics = Metrics()
        self.tracer = Tracer(self.store, role, verbose=False, wall=simulation.wall)
        shards = 1 << settings.hash_size
        self.ownership = Ownership(self.store, role, name, shards, settings.lease_ttl, simulation.clock)
        self.name = name

    def kill(self) -> None:
        """SIGKILL. What it has sent to Redis may arrive later."""
        self.alive = False
        for connection in self.backend.connections:
            connection.cut("killed", for_good=True)
        self.simulation.end(self.loop)

    def suspend(self, seconds: float) -> None:
        """SIGSTOP. When it resumes, its timers may run before it reads what has arrived meanwhile."""
        self.loop.suspended = True

        def resume() -> None:
            self.loop.suspended = False
            if seconds >= REPLY_SECONDS and self.simulation.random.random() < 0.5:
                for connection in self.backend.connections:
                    connection.cut("no reply in time")

        self.simulation.after(seconds, resume)

    def _recoverer(self, stream: Callable[[int], str], is_pending: Callable[[int, bytes], bool]) -> Recoverer:
        owned = self.ownership.owned
        return Recoverer(self.store, self.consumer, owned, stream, LEASE_SECONDS, is_pending)

    consumer: Consumer


class Network(Protocol):
    """Where requests of edges go."""

    def send(self, data: bytes, edge: str, respond: Callable[[bytes], None]) -> None:
        """A request leaves an edge, which takes the response."""
        ...


class Edge(Process):
    """An edge. It has no sockets: `deliver_to` says where requests go, `receive` takes those of users."""

    def __init__(
        self,
        name: str,
        simulation: Simulation,
        server: Server,
        settings: Settings,
        *,
        nodes: int,
        receives: bool = False,
    ) -> None:
        super().__init__(name, simulation, server, settings, nodes=nodes, role="edge")
        self.is_draining = False
        self.clock_offset = 0.0
        """Seconds by which its clock is ahead."""
        self._network: Network | None = None
        self._acceptor: Acceptor | None = None
        clock = simulation.clock
        with running_in(self.loop):
            self.consumer = Consumer(self.store, self.ownership, keys.events, EVENTS_PER_READ, block_ms=200)
            next_hops = next_hops_of(settings, Resolver(clock), OwnAddresses(self.store, ()), clock)
            streams: Any = self  # it has what is needed of these
            # Redis has the time of the simulation, whatever an edge's own clock says
            self._deliver = assemble(
                settings, self.store, streams, self, next_hops, clock, self.wall, simulation.wall
            )
            self.ownership.can_release = lambda shard: not self._deliver.in_flight(shard)
            recoverer = self._recoverer(keys.events, self._deliver.holds)
            for part in (self.ownership, self._deliver, Ticker(self._deliver), recoverer):
                self.loop.start(part.run())
            if receives:
                self._start_to_receive(settings)

    def _start_to_receive(self, settings: Settings) -> None:
        self._health = Health(self.store, 1 << settings.hash_size, settings.max_backlog)
        nonce_keys = NonceKeys(self.store, "", RedisClock(self.store, self.simulation.clock))
        acceptor = self._acceptor = Acceptor(
            settings,
            self.store,
            self._health,
            self._deliver,
            self.metrics,
            tracer=self.tracer,
            nonce_keys=nonce_keys,
            clock=self.simulation.clock,
            wall_clock=self.wall,
        )
        for part in (acceptor.commit, acceptor.wake_ups, acceptor.device_offers, self._health):
            self.loop.start(part.run())

    def wall(self) -> float:
        """Its clock, in seconds since the epoch."""
        return self.simulation.wall() + self.clock_offset

    def deliver_to(self, network: Network) -> None:
        """Deliveries go there."""
        self._network = network

    def send(self, hop: Hop, data: bytes, user: TransportUser) -> None:
        """A request leaves. The proxy takes no TCP, so long ones go over UDP, too (RFC 3261 §18.1.1)."""
        if hop.transport != "udp":
            error = OSError("refused")
            error.__cause__ = ConnectionRefusedError()
            self.loop.call_soon(user.transport_error, error)
        elif self._network is not None:
            self._network.send(data, self.name, self.respond)

    def via(self, hop: Hop) -> str:
        return f"SIP/2.0/UDP {self.name}.example:5060"

    def respond(self, data: bytes) -> None:
        """A response to a request of this edge has come."""
        if self.alive:
            self.loop.call_soon(self._deliver.response, data)

    def receive(self, data: bytes, flow: Flow) -> None:
        """A request of a user has come."""
        if self.alive and self._acceptor is not None:
            self.loop.call_soon(self._acceptor.receive, data, flow)

    def hear(self, payload: bytes) -> None:
        """A message of the channel of presence."""
        if self.alive:
            self.loop.call_soon(self._deliver.presence, payload)
        if self.alive and self._acceptor is not None:
            self.loop.call_soon(self._acceptor.conferences.heard, payload)

    @property
    def is_offering(self) -> bool:
        """Whether devices have registered for which it will look for rooms: nothing in Redis says so."""
        if not self.alive or self._acceptor is None:
            return False
        offers = self._acceptor.device_offers
        return bool(offers._waiting or offers._again or offers._unnoted)

    def end(self) -> None:
        """SIGTERM: drain, and release the leases."""
        self.is_draining = True

        async def end() -> None:
            deadline = self.simulation.now + DRAIN_SECONDS
            if self._acceptor is not None:
                self._health.drain()
            await self._deliver.drain(deadline)
            if self._acceptor is not None:
                await self._acceptor.conferences.drain()
                await self._acceptor.commit.drain(deadline)
            with suppress(StoreUnreachable):
                await self.ownership.release_all()
            self.simulation.after(0.0, lambda: self.kill() if self.alive else None)

        self.loop.start(end())


class Worker(Process):
    """A worker."""

    def __init__(
        self, name: str, simulation: Simulation, server: Server, settings: Settings, *, nodes: int
    ) -> None:
        super().__init__(name, simulation, server, settings, nodes=nodes, role="worker")
        names = Keys(settings.rooms_table, settings.members_table)
        with running_in(self.loop):
            self.consumer = Consumer(self.store, self.ownership, keys.requests, 128, block_ms=100)
            all_shards = AllShards(self.store, names, 1 << settings.hash_size)
            committer = Committer(
                self.store,
                Dispatcher(self.store.scripts, all_shards, settings),
                self.consumer,
                Retrial(self.store, settings.max_attempts, simulation.wall),
                self.ownership.owned,
                AutomaticAnswers(settings),
                self.metrics,
                self.tracer,
            )
            self.ownership.can_release = lambda shard: not committer.has_pending(shard)
            recoverer = self._recoverer(keys.requests, lambda shard, _: committer.has_pending(shard))
            prober = Prober(self.store, settings, self.ownership.owned, simulation.wall, self.metrics)
            for part in (self.ownership, committer, recoverer, prober):
                self.loop.start(part.run())
            self.loop.start(self._read(committer))

    async def _read(self, committer: Committer) -> None:
        while True:
            await committer.space()
            for batch in await self.consumer.read():
                committer.put(batch)
