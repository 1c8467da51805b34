"""One worker process, from its start to its end.

Start: settings, Redis, then the parts in the order in which entries pass them: consumer, committer
(dispatcher, retrial), and beside them ownership, recoverer, gauges and MI. End: reading stops, what is in
hand is handled, leases go back.
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

import structlog

from imc_common import keys
from imc_common.keys import Keys
from imc_common.metrics import Metrics
from imc_common.notify import notify
from imc_common.reload import Reloadable, reload
from imc_common.settings import Settings
from imc_common.shards.consumer import Consumer
from imc_common.shards.ownership import Ownership, process_id
from imc_common.shards.recoverer import Recoverer
from imc_common.status import Gauges, StatusPages
from imc_common.steps import Steps
from imc_common.store import Store, StoreUnreachable
from imc_worker.all_shards import AllShards
from imc_worker.committer import Committer
from imc_worker.dispatcher import Dispatcher
from imc_worker.mi import MiServer
from imc_worker.retrial import Retrial

ENTRIES_PER_READ = 128
"""Entries of one shard per read."""
READ_BLOCK_MS = 100
"""How long a read waits: a shard that is new to this process waits no longer for its first read."""
RETRY_SECONDS = 1.0
"""Mean pause between attempts to reach Redis at the start."""

log = structlog.get_logger()


class Worker:
    """Everything a worker process runs."""

    def __init__(self, settings: Settings, reread: Callable[[], Settings] | None = None) -> None:
        """`reread` gives the settings anew at SIGHUP."""
        self._settings = settings
        self._reread = reread
        self._reloadable: list[Reloadable] = []
        self._metrics = Metrics()
        self._stop = asyncio.Event()
        self._ownership: Ownership | None = None

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain. Raises StoreRefused and UrlError."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        pages = StatusPages(self._metrics, self._trouble)
        await pages.start(self._settings)
        store = await self._reach_redis()
        if store is None:
            return
        try:
            await self._serve(store)
        finally:
            await pages.close()
            await store.close()

    def _reload(self) -> None:
        if self._reread is not None:
            self._settings = reload(self._settings, self._reread, "worker", self._reloadable)

    def _trouble(self) -> str:
        """Why this worker is not ready; empty if it is."""
        if self._stop.is_set():
            return "it drains"
        return "" if self._ownership is not None and self._ownership.reached else "redis is out of reach"

    async def _serve(self, store: Store) -> None:
        settings = self._settings
        shards = 1 << settings.hash_size
        process = process_id()
        ownership = Ownership(store, "worker", process, shards, settings.lease_ttl, time.monotonic)
        self._ownership = ownership
        verbose = settings.log_level == "debug"
        steps = Steps(store, f"worker {process}", verbose=verbose, wall=time.time)
        consumer = Consumer(store, ownership, keys.requests, ENTRIES_PER_READ, READ_BLOCK_MS)
        all_shards = AllShards(store, Keys(settings.rooms_table, settings.members_table), shards)
        dispatcher = Dispatcher(store.scripts, all_shards, settings)
        committer = Committer(
            store,
            dispatcher,
            consumer,
            Retrial(store, settings.max_attempts, time.time),
            ownership.owned,
            self._metrics,
            steps,
        )
        ownership.can_release = lambda shard: not committer.in_hand(shard)
        recoverer = Recoverer(
            store,
            consumer,
            ownership.owned,
            keys.requests,
            settings.lease_ttl,
            lambda shard, _: committer.in_hand(shard),
        )
        gauges = Gauges(store, settings, "worker", ownership.owned, self._metrics)
        self._reloadable = [dispatcher, steps]
        mi = MiServer(store, settings)
        _freeze()
        log.info("worker serves", shards=shards)
        notify("READY=1")
        async with asyncio.TaskGroup() as tasks:
            parts = (ownership, committer, recoverer, gauges, mi, steps)
            running = [tasks.create_task(part.run()) for part in parts]
            reading = tasks.create_task(self._read(consumer, committer))
            await self._stop.wait()
            await self._drain(reading, committer)
            for task in running:
                task.cancel()
        with suppress(StoreUnreachable):  # then the leases run out by themselves
            await ownership.release_all()
        log.info("worker ends")

    async def _read(self, consumer: Consumer, committer: Committer) -> None:
        while not self._stop.is_set():
            await committer.space()
            for batch in await consumer.read():
                committer.put(batch)

    async def _drain(self, reading: asyncio.Task[None], committer: Committer) -> None:
        """Handle what is in hand; what is not handled in time stays for the next owner."""
        log.info("worker drains", seconds=self._settings.drain_timeout)
        notify("STOPPING=1")
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain_timeout):
                await asyncio.shield(reading)
                await committer.idle()
        reading.cancel()

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

    def _end(self) -> None:
        """The first signal drains, the second ends the process at once: what is in hand stays in Redis."""
        if self._stop.is_set():
            log.warning("worker ends at once")
            os._exit(1)
        self._stop.set()


def _freeze() -> None:
    """What was made at the start lives as long as the process: keep the collector from looking at it."""
    gc.collect()
    gc.freeze()
    # next to nothing that a message makes is part of a cycle: looking for cycles seldom is enough
    gc.set_threshold(50_000, 20, 50)
