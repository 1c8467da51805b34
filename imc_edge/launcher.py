"""One edge process, from its start to its end.

Start: settings, sockets, Redis, then the parts below, in the order in which messages pass them. End: OPTIONS
says 503, what is in flight is finished, leases go back, connections and sockets are closed.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

from imc_common import keys
from imc_common.metrics import Metrics
from imc_common.notify import notify
from imc_common.reload import Reloadable, reload
from imc_common.settings import Settings
from imc_common.settings.values import is_loopback
from imc_common.shards.consumer import Consumer
from imc_common.shards.ownership import Ownership, process_id
from imc_common.shards.recoverer import Recoverer
from imc_common.sip.limits import Limits
from imc_common.status import Gauges, StatusPages
from imc_common.steps import Steps
from imc_common.store import Store, StoreUnreachable
from imc_edge.delivering.deliver import Deliver
from imc_edge.delivering.wiring import assemble
from imc_edge.health import Health
from imc_edge.identity.nonces import KeyFileError, NonceKeys
from imc_edge.identity.redis_clock import RedisClock
from imc_edge.identity.trusted_peers import TrustedPeers
from imc_edge.receiving.accept import Acceptor
from imc_edge.routing.own_addresses import OwnAddresses
from imc_edge.routing.resolver import Resolver
from imc_edge.transports.connection import Times
from imc_edge.transports.hep_tap import HepTap, TappedReceiver, TappedTransports
from imc_edge.transports.network import Network
from imc_edge.transports.pool import Bounds
from imc_edge.transports.tls import Tls, TlsFiles, TlsFilesError

EVENTS_PER_READ = 16
"""Entries of one shard per read: bounds how long other rooms wait behind a large one, and what a crash makes
the next owner send again."""
READ_BLOCK_MS = 200
RETRY_SECONDS = 1.0
"""Mean pause between attempts to reach Redis at the start."""

log = structlog.get_logger()


class Edge:
    """Everything an edge process runs."""

    def __init__(self, settings: Settings, reread: Callable[[], Settings] | None = None) -> None:
        """Bind the sockets. `reread` gives the settings anew at SIGHUP.

        Raises ListenError, TlsFilesError and HepError.
        """
        self._settings = settings
        self._reread = reread
        self._reloadable: list[Reloadable] = []
        self._health: Health | None = None
        self._nonce_keys: NonceKeys | None = None
        files = (settings.tls_certificate, settings.tls_private_key, settings.tls_ca)
        self._tls = Tls(TlsFiles(*(Path(file) if file else None for file in files)))
        self._network = Network(
            settings.listen,
            advertise=settings.advertise,
            tls=self._tls,
            clock=time.monotonic,
            bounds=Bounds(
                settings.max_connections,
                settings.max_connections_per_peer,
                Limits(body=settings.max_body),
                settings.max_connections_per_trusted_peer,
                TrustedPeers(settings.trusted_peers),
            ),
            times=Times(),
            shared=settings.share_ports,
        )
        self._metrics = Metrics()
        self._tap: HepTap | None = None
        if settings.hep_address:
            self._tap = HepTap(settings, self._network.local_address, time.time, self._metrics)
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain. Raises StoreRefused and UrlError."""
        self._handle_signals()
        pages = StatusPages(self._metrics, self._trouble)
        await pages.start(self._settings)
        store = await self._reach_redis()
        if store is None:
            return
        try:
            await self._serve(store)
        finally:
            await self._network.close()
            await pages.close()
            if self._tap is not None:
                self._tap.close()
            await store.close()

    def _trouble(self) -> str:
        """Why this edge is not ready; empty if it is."""
        return "redis is out of reach" if self._health is None else self._health.trouble

    async def _serve(self, store: Store) -> None:
        settings, clock = self._settings, time.monotonic
        shards = 1 << settings.hash_size
        health = Health(store, shards, settings.max_backlog)
        process = process_id()
        steps = Steps(store, f"edge {process}", verbose=settings.log_level == "debug", wall=time.time)
        ownership = Ownership(store, "edge", process, shards, settings.lease_ttl, clock)
        consumer = Consumer(store, ownership, keys.events, EVENTS_PER_READ, READ_BLOCK_MS)
        listening = [(endpoint.host, endpoint.port) for endpoint in self._network.addresses]
        own = OwnAddresses(store, listening, settings.advertise)
        tap = self._tap
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
            metrics=self._metrics,
            steps=steps,
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
            settings, store, health, deliver, self._metrics, steps=steps, nonce_keys=nonce_keys
        )
        self._reloadable = [acceptor, deliver, health, steps, self._network]
        gauges = Gauges(store, settings, "edge", ownership.owned, self._metrics)
        self._health = health
        await health.check()
        self._network.start(TappedReceiver(acceptor, tap) if tap else acceptor)
        log.info("edge listens", endpoints=[str(endpoint) for endpoint in self._network.addresses])
        self._warn_of_deafness()
        notify("READY=1")
        _calm_collector()
        async with asyncio.TaskGroup() as tasks:
            lookups = acceptor.authenticator.lookups
            parts = (
                acceptor.commit,
                lookups,
                nonce_keys,
                redis_clock,
                health,
                ownership,
                own,
                deliver,
                recoverer,
                gauges,
                steps,
            )
            running = [tasks.create_task(part.run()) for part in parts]
            await self._stop.wait()
            await self._drain(health, acceptor, deliver)
            for task in running:
                task.cancel()
        with suppress(StoreUnreachable):  # then the leases run out by themselves
            await ownership.release_all()
            await own.forget()
        log.info("edge ends")

    def _warn_of_deafness(self) -> None:
        """An edge that others can reach and that believes none of them is usually one not set up yet."""
        settings = self._settings
        if (
            settings.identity != "digest"
            and all(network.is_loopback for network in settings.trusted_peers)
            and not all(is_loopback(endpoint.host) for endpoint in self._network.addresses)
        ):
            log.warning("requests from other machines get 403: trusted_peers names none of them")

    async def _drain(self, health: Health, acceptor: Acceptor, deliver: Deliver) -> None:
        deadline = time.monotonic() + self._settings.drain_timeout
        log.info("edge drains", events=deliver.in_flight(), seconds=self._settings.drain_timeout)
        notify("STOPPING=1")
        health.drain()
        await deliver.drain(deadline)
        await acceptor.authenticator.lookups.drain(deadline)
        await acceptor.commit.drain(deadline)

    async def _reach_redis(self) -> Store | None:
        """A store, however long Redis takes to come; None when we are to stop before that."""
        while not self._stop.is_set():
            try:
                return await Store.connect(self._settings)
            except StoreUnreachable as error:
                log.warning("redis is out of reach", reason=str(error))
            with suppress(TimeoutError):
                pause = RETRY_SECONDS * random.uniform(0.5, 1.5)  # noqa: S311 # jitter
                await asyncio.wait_for(self._stop.wait(), pause)
        return None

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        loop.add_signal_handler(signal.SIGHUP, self._reload)

    def _end(self) -> None:
        """The first signal drains, the second ends the process at once."""
        if self._stop.is_set():
            log.warning("edge ends at once")
            os._exit(1)
        self._stop.set()

    def _reload(self) -> None:
        try:
            self._tls.reload()
        except TlsFilesError as error:
            log.error("certificates stay as they were", reason=str(error))  # noqa: TRY400 # no traceback: it names the file
        else:
            log.info("certificates read again")
        try:
            if self._nonce_keys is not None:
                self._nonce_keys.reread()
        except KeyFileError as error:
            log.error("digest keys stay as they were", reason=str(error))  # noqa: TRY400 # no traceback: it names the file
        if self._reread is not None:
            self._settings = reload(self._settings, self._reread, "edge", self._reloadable)


def _calm_collector() -> None:
    """Keep Python's cycle collector from looking again and again at what lives long.

    What was made at the start lives as long as the process; and a batch of requests that waits for Redis is
    no garbage either, but makes enough objects for a collection each time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
