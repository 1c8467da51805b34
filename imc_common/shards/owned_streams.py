"""What edges and workers have alike: the leases of their shards, and the parts that work on the streams.

Both own shards, read one stream of each, look for orphaned entries, and report what is left. They differ in
the stream, and in what they do with an entry.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from imc_common.metrics import Metrics
from imc_common.settings import Settings
from imc_common.shards.consumer import Consumer
from imc_common.shards.ownership import Ownership, Role, process_id
from imc_common.shards.recoverer import Recoverer
from imc_common.status import Gauges
from imc_common.store import Store
from imc_common.tracer import Tracer


class Reading(NamedTuple):
    """How a role reads the streams of its shards."""

    stream: Callable[[int], str]
    """The key of a shard's stream."""
    entries: int
    """Entries of one shard per read."""
    block_ms: int
    """How long a read waits for new entries; a newly owned shard waits as long for its first read."""


class OwnedStreams:
    """The leases of one process, the consumer of its streams, and its tracer."""

    def __init__(
        self, store: Store, settings: Settings, role: Role, reading: Reading, metrics: Metrics
    ) -> None:
        process = process_id()
        shards = 1 << settings.hash_size
        self.metrics = metrics
        self.ownership = Ownership(store, role, process, shards, settings.lease_ttl, time.monotonic)
        self.consumer = Consumer(store, self.ownership, *reading)
        verbose = settings.log_level == "debug"
        self.tracer = Tracer(store, f"{role} {process}", verbose=verbose, wall=time.time)
        self._store = store
        self._settings = settings
        self._role = role
        self._stream = reading.stream

    def parts(
        self, has_pending: Callable[[int], bool], is_pending: Callable[[int, bytes], bool]
    ) -> tuple[Ownership, Recoverer, Gauges, Tracer]:
        """The parts that have to be kept running, for a process that handles the entries.

        ``has_pending`` tells whether it still works on any entry of a shard, ``is_pending`` whether it works
        on this one.
        """
        owned = self.ownership.owned
        self.ownership.can_release = lambda shard: not has_pending(shard)
        recoverer = Recoverer(
            self._store, self.consumer, owned, self._stream, self._settings.lease_ttl, is_pending
        )
        gauges = Gauges(self._store, self._settings, self._role, owned, self.metrics)
        return self.ownership, recoverer, gauges, self.tracer
