"""One edge process, from its start to its end.

Start: settings, sockets, Redis, then the parts below, in the order in which messages pass them. End: OPTIONS
gets 503, what is in flight is finished, leases are given back, connections and sockets are closed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

from imc_common import keys
from imc_common.process import Process
from imc_common.settings import Settings
from imc_common.settings.values import is_loopback
from imc_common.shards.consumer import Consumer
from imc_common.shards.ownership import Ownership, process_id
from imc_common.shards.recoverer import Recoverer
from imc_common.sip.limits import Limits
from imc_common.status import Gauges
from imc_common.store import Store, StoreUnreachable
from imc_common.tracer import Tracer
from imc_edge.delivering.deliver import Deliver, Ticker
from imc_edge.delivering.wiring import assemble
from imc_edge.health import Health
from imc_edge.identity.nonces import KeyFileError, NonceKeys
from imc_edge.identity.redis_clock import RedisClock
from imc_edge.identity.trusted_peers import TrustedPeers
from imc_edge.receiving.acceptor import Acceptor
from imc_edge.routing.own_addresses import OwnAddresses
from imc_edge.routing.resolver import Resolver
from imc_edge.transports.connection import Times
from imc_edge.transports.descriptors import RESERVED, descriptor_budget
from imc_edge.transports.hep_tap import HepTap, TappedReceiver, TappedTransports
from imc_edge.transports.network import Network
from imc_edge.transports.pool import Bounds
from imc_edge.transports.tls import Tls, TlsFiles, TlsFilesError

EVENTS_PER_READ = 16
"""Entries of one shard per read: limits how long other rooms wait behind a large one, and how many events the
next owner sends again after a crash."""
READ_BLOCK_MS = 200
"""How long a read waits for new entries."""

log = structlog.get_logger()


class Edge(Process):
    """Everything an edge process runs."""

    def __init__(self, settings: Settings, reread: Callable[[], Settings] | None = None) -> None:
        """Bind the sockets. ``reread`` gives the settings anew at SIGHUP.

        Raises ListenError, TlsFilesError, TooFewDescriptorsError and HepError.
        """
        super().__init__("edge", settings, reread)
        self._health: Health | None = None
        self._nonce_keys: NonceKeys | None = None
        files = (settings.tls_certificate, settings.tls_private_key, settings.tls_ca)
        self._tls = Tls(TlsFiles(*(Path(file) if file else None for file in files)))
        self._budget = descriptor_budget(settings.max_connections)
        self._network = Network(
            settings.listen,
            advertise=settings.advertise,
            tls=self._tls,
            clock=time.monotonic,
            bounds=Bounds(
                self._budget.connections,
                settings.max_connections_per_peer,
                Limits(body=settings.max_body),
                settings.max_connections_per_trusted_peer,
                TrustedPeers(settings.trusted_peers),
            ),
            times=Times(),
            shared=settings.share_ports,
        )
        self._tap: HepTap | None = None
        if settings.hep_address:
            self._tap = HepTap(settings, self._network.local_address, time.time, self.metrics)

    def trouble(self) -> str:
        """Why this edge is not ready; empty if it is."""
        return "redis is unreachable" if self._health is None else self._health.trouble

    async def close(self) -> None:
        """Close connections and sockets."""
        await self._network.close()
        if self._tap is not None:
            self._tap.close()

    async def serve(self, store: Store) -> None:
        """Receive and deliver until a signal comes, then drain."""
        settings, clock, tap = self.settings, time.monotonic, self._tap
        shards = 1 << settings.hash_size
        health = Health(store, shards, settings.max_backlog)
        process = process_id()
        tracer = Tracer(store, f"edge {process}", verbose=settings.log_level == "debug", wall=time.time)
        ownership = Ownership(store, "edge", process, shards, settings.lease_ttl, clock)
        consumer = Consumer(store, ownership, keys.events, EVENTS_PER_READ, READ_BLOCK_MS)
        listening = [(endpoint.host, endpoint.port) for endpoint in self._network.addresses]
        own = OwnAddresses(store, listening, settings.advertise)
        deliver = assemble(
            settings,
            store=store,
            secret=store.secret,
            consumer=consumer,
            ownership=ownership,
            transports=TappedTransports(self._network, tap) if tap else self._network,
            resolver=Resolver(clock),
            own=own,
            clock=clock,
            wall=time.time,
            metrics=self.metrics,
            tracer=tracer,
        )
        ownership.can_release = lambda shard: not deliver.in_flight(shard)
        recoverer = Recoverer(
            store, consumer, ownership.owned, keys.events, settings.lease_ttl, deliver.holds
        )
        redis_clock = RedisClock(store, clock)
        await redis_clock.read()
        nonce_keys = self._nonce_keys = NonceKeys(store, settings.digest_key_file, redis_clock)
        await nonce_keys.read()
        acceptor = Acceptor(
            settings, store, health, deliver, self.metrics, tracer=tracer, nonce_keys=nonce_keys
        )
        gauges = Gauges(store, settings, "edge", ownership.owned, self.metrics)
        self.reloadable = (acceptor, deliver, health, tracer, self._network)
        self._health = health
        await health.check()
        self._network.start(TappedReceiver(acceptor, tap) if tap else acceptor)
        self._warn_of_missing_trusted_peers()
        self._warn_of_few_descriptors()
        lookups = acceptor.authenticator.lookups
        await self.run_parts(
            (
                acceptor.commit,
                lookups,
                nonce_keys,
                redis_clock,
                health,
                ownership,
                own,
                deliver,
                Ticker(deliver),
                recoverer,
                gauges,
                tracer,
            ),
            lambda: self._drain(health, acceptor, deliver),
            endpoints=[str(endpoint) for endpoint in self._network.addresses],
            connections=self._budget.connections,
            open_files=self._budget.open_files,
        )
        with suppress(StoreUnreachable):  # then the leases expire
            await ownership.release_all()
            await own.forget()
        log.info("edge stopped")

    async def _drain(self, health: Health, acceptor: Acceptor, deliver: Deliver) -> None:
        deadline = time.monotonic() + self.settings.drain_timeout
        log.info("edge draining", events=deliver.in_flight(), seconds=self.settings.drain_timeout)
        health.drain()
        await deliver.drain(deadline)
        await acceptor.authenticator.lookups.drain(deadline)
        await acceptor.commit.drain(deadline)

    def reload_files(self) -> None:
        """Read certificates and digest keys again; those with a mistake stay as they were."""
        try:
            self._tls.reload()
        except TlsFilesError as error:
            log.error("certificates not reloaded", reason=str(error))  # noqa: TRY400 # no traceback: it names the file
        else:
            log.info("certificates reloaded")
        try:
            if self._nonce_keys is not None:
                self._nonce_keys.reread()
        except KeyFileError as error:
            log.error("digest keys not reloaded", reason=str(error))  # noqa: TRY400 # no traceback: it names the file

    def _warn_of_few_descriptors(self) -> None:
        wanted, (allowed, open_files) = self.settings.max_connections, self._budget
        if allowed < wanted:
            log.warning(
                "max_connections lowered",
                to=allowed,
                configured=wanted,
                open_files=open_files,
                reason=f"the limit of open files should be {wanted + RESERVED}",
            )

    def _warn_of_missing_trusted_peers(self) -> None:
        """An edge that other hosts can reach, and that trusts none of them, usually lacks a setting."""
        settings = self.settings
        if (
            settings.identity != "digest"
            and all(network.is_loopback for network in settings.trusted_peers)
            and not all(is_loopback(endpoint.host) for endpoint in self._network.addresses)
        ):
            log.warning("requests from other hosts get 403", reason="trusted_peers names none of them")
