"""One worker process, from its start to its end.

Start: settings, Redis, then the parts in the order in which entries pass them: consumer, committer
(dispatcher, retrial), and beside them ownership, recoverer, gauges, prober, janitor and MI. End: reading
stops, what was read is handled, leases are given back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from imc_common import keys
from imc_common.keys import Keys
from imc_common.process import Process
from imc_common.settings import Settings
from imc_common.shards.consumer import Consumer
from imc_common.shards.owned_streams import OwnedStreams, Reading
from imc_common.shards.ownership import Ownership
from imc_common.store import Store, StoreUnreachable
from imc_worker.all_shards import AllShards
from imc_worker.automatic_answers import AutomaticAnswers
from imc_worker.committer import Committer
from imc_worker.dispatcher import Dispatcher
from imc_worker.janitor import Janitor
from imc_worker.mi import MiServer
from imc_worker.prober import Prober
from imc_worker.retrial import Retrial

READING = Reading(keys.requests, entries=128, block_ms=100)

log = structlog.get_logger()


class Worker(Process):
    """Everything a worker process runs."""

    def __init__(self, settings: Settings, reread: Callable[[], Settings] | None = None) -> None:
        """``reread`` gives the settings anew at SIGHUP."""
        super().__init__("worker", settings, reread)
        self._ownership: Ownership | None = None

    def trouble(self) -> str:
        """Why this worker is not ready; empty if it is."""
        if self.stopping.is_set():
            return "draining"
        return "" if self._ownership is not None and self._ownership.reached else "redis is unreachable"

    async def serve(self, store: Store) -> None:
        """Handle requests until a signal comes, then drain."""
        settings = self.settings
        shards = 1 << settings.hash_size
        streams = OwnedStreams(store, settings, "worker", READING, self.metrics)
        self._ownership = streams.ownership
        all_shards = AllShards(store, Keys(settings.rooms_table, settings.members_table), shards)
        dispatcher = Dispatcher(store.scripts, all_shards, settings)
        automatic_answers = AutomaticAnswers(settings)
        committer = Committer(
            store,
            dispatcher,
            streams.consumer,
            Retrial(store, settings.max_attempts, time.time),
            streams.ownership.owned,
            automatic_answers,
            self.metrics,
            streams.tracer,
        )
        reader = _EntryReader(streams.consumer, committer, self.stopping)
        owning = streams.parts(committer.has_pending, lambda shard, _: committer.has_pending(shard))
        prober = Prober(store, settings, streams.ownership.owned, time.time, self.metrics)
        janitor = Janitor(store, settings, streams.ownership.owned, time.time, self.metrics)
        self.reloadable = (dispatcher, automatic_answers, prober, janitor, streams.tracer)
        await self.run_parts(
            (committer, reader, *owning, prober, janitor, MiServer(store, settings)),
            lambda: self._drain(reader, committer),
            shards=shards,
        )
        with suppress(StoreUnreachable):  # then the leases expire
            await streams.ownership.release_all()
        log.info("worker stopped")

    async def _drain(self, reader: _EntryReader, committer: Committer) -> None:
        """Handle what was read; what is not handled in time stays for the next owner."""
        log.info("worker draining", seconds=self.settings.drain_timeout)
        with suppress(TimeoutError):
            async with asyncio.timeout(self.settings.drain_timeout):
                await reader.ended.wait()
                await committer.idle()


class _EntryReader:
    """Passes entries from the consumer to the committer, until the process stops."""

    def __init__(self, consumer: Consumer, committer: Committer, stopping: asyncio.Event) -> None:
        self._consumer = consumer
        self._committer = committer
        self._stopping = stopping
        self.ended = asyncio.Event()
        """Set when nothing more will be read."""

    async def run(self) -> None:
        """Read until the process stops."""
        while not self._stopping.is_set():
            await self._committer.space()
            for batch in await self._consumer.read():
                self._committer.put(batch)
        self.ended.set()
