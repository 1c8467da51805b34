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
from imc_common.shards.owned_streams import OwnedStreams, Reading
from imc_common.sip.limits import Limits
from imc_common.store import Store, StoreUnreachable
from imc_edge.delivering.deliver import Deliver, Ticker
from imc_edge.delivering.wiring import assemble
from imc_edge.flow import Transports
from imc_edge.health import Health
from imc_edge.identity.nonces import KeyFileError, NonceKeys
from imc_edge.identity.trusted_peers import TrustedPeers
from imc_edge.receiving.acceptor import Acceptor
from imc_edge.redis_clock import RedisClock
from imc_edge.routing.next_hop import next_hops_of
from imc_edge.routing.own_addresses import OwnAddresses
from imc_edge.routing.resolver import Resolver
from imc_edge.transports.connection import ConnectionTimeouts
from imc_edge.transports.descriptors import RESERVED, descriptor_budget
from imc_edge.transports.hep_tap import HepTap, TappedReceiver, TappedTransports
from imc_edge.transports.network import Network
from imc_edge.transports.pool import PoolLimits
from imc_edge.transports.tls import Tls, TlsFiles, TlsFilesError

EVENTS_PER_READ = 16
"""Entries of one shard per read: limits how long other rooms wait behind a large one, and how many events the
next owner sends again after a crash."""
READING = Reading(keys.events, EVENTS_PER_READ, block_ms=200)

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
            bounds=PoolLimits(
                self._budget.connections,
                settings.max_connections_per_peer,
                Limits(body=settings.max_body),
                settings.max_connections_per_trusted_peer,
                TrustedPeers(settings.trusted_peers),
            ),
            timeouts=ConnectionTimeouts(),
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
        settings, clock = self.settings, time.monotonic
        streams = OwnedStreams(store, settings, "edge", READING, self.metrics)
        own = OwnAddresses(store, self._listening(), settings.advertise)
        next_hops = next_hops_of(settings, Resolver(clock), own, clock)
        redis_clock = RedisClock(store, clock)
        await redis_clock.read()
        deliver = assemble(
            settings, store, streams, self._transports(), next_hops, clock, time.time, redis_clock
        )
        nonce_keys = self._nonce_keys = NonceKeys(store, settings.digest_key_file, redis_clock)
        await nonce_keys.read()
        health = Health(store, 1 << settings.hash_size, settings.max_backlog)
        acceptor = Acceptor(
            settings, store, health, deliver, self.metrics, tracer=streams.tracer, nonce_keys=nonce_keys
        )
        self.reloadable = (acceptor, deliver, health, streams.tracer, self._network)
        self._health = health
        await health.check()
        self._listen(acceptor)
        # In the order in which messages pass them; beside them, what keeps the process's place in Redis.
        receiving = (
            acceptor.commit,
            acceptor.unhurried,
            acceptor.wake_ups,
            acceptor.device_offers,
            acceptor.authenticator.lookups,
            nonce_keys,
            redis_clock,
            health,
        )

        def told(payload: bytes) -> None:
            deliver.presence(payload)
            acceptor.conferences.heard(payload)

        presence = store.subscription(keys.PRESENCE, told)
        delivering = (deliver, Ticker(deliver), presence)
        owning = (*streams.parts(lambda shard: deliver.in_flight(shard) > 0, deliver.holds), own)
        await self.run_parts(
            (*receiving, *delivering, *owning),
            lambda: self._drain(health, acceptor, deliver),
            endpoints=[str(endpoint) for endpoint in self._network.addresses],
            connections=self._budget.connections,
            open_files=self._budget.open_files,
        )
        with suppress(StoreUnreachable):  # then the leases expire
            await streams.ownership.release_all()
            await own.forget()
        log.info("edge stopped")

    def _listening(self) -> list[tuple[str, int]]:
        """Host and port of every socket that listens."""
        return [(endpoint.host, endpoint.port) for endpoint in self._network.addresses]

    def _transports(self) -> Transports:
        """What deliveries go out by."""
        return TappedTransports(self._network, self._tap) if self._tap else self._network

    def _listen(self, acceptor: Acceptor) -> None:
        """Receive from now on, and warn of settings that let few messages in."""
        self._network.start(TappedReceiver(acceptor, self._tap) if self._tap else acceptor)
        self._warn_of_missing_trusted_peers()
        self._warn_of_few_descriptors()

    async def _drain(self, health: Health, acceptor: Acceptor, deliver: Deliver) -> None:
        deadline = time.monotonic() + self.settings.drain_timeout
        log.info("edge draining", events=deliver.in_flight(), seconds=self.settings.drain_timeout)
        health.drain()
        await deliver.drain(deadline)
        await acceptor.authenticator.lookups.drain(deadline)
        await acceptor.conferences.drain()
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
