"""The cost of each `durability`: accepted requests per second, and the time for a pipeline of them.

``python -m bench.durability``. Runs the wheel's Valkey (WAITAOF needs more than Debian's Redis 7.0) with an
AOF and one replica on the same machine, so `replicas` measures the round trip without a network. One
connection, as in an edge; `batch` requests of a shard go in one pipeline, merged, which is what group
commit makes of so many at once.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import quantiles
from uuid import uuid4

import uvloop

from imc_cli.embedded import CONFIG
from imc_common.rooms.request import RequestData, RoomRequest
from imc_common.settings import Settings
from imc_common.store import NotDurable, Store
from imc_edge.receiving.accept_pipeline import Accept, AcceptPipeline
from tests.ports import free_port
from tests.servers import running

SECONDS = 3.0
BATCHES = (1, 8, 64)
LIMITS = {"max_backlog": 0, "max_deliveries_per_second": 0}
"""None: what limits cost is measured elsewhere."""


async def measure(store: Store, batch: int, seconds: float = SECONDS) -> tuple[float, float, float]:
    """Requests per second, and median and 99th percentile of the milliseconds of a pipeline.

    Raises RuntimeError if a request is not accepted.
    """
    pipeline = AcceptPipeline(store, Settings.model_validate(LIMITS))
    data = RequestData(body=b"x" * 60, call_id="c", at=1).pack()
    fields = RoomRequest("message", "a@example.org", "room@example.org", data=data).to_fields()
    times: list[float] = []
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        requests = [Accept(0, uuid4().hex[:12], fields) for _ in range(batch)]
        sent = time.perf_counter()
        replies = await pipeline.run(requests)
        times.append((time.perf_counter() - sent) * 1000)
        if replies != [b"accepted"] * batch:
            raise RuntimeError(f"not all accepted: {replies}")
    rate = len(times) * batch / (time.perf_counter() - started)
    cuts = quantiles(times, n=100)
    return rate, cuts[49], cuts[98]


async def main() -> None:
    """Print a Markdown table."""
    with ExitStack() as stack:
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(2)]
        port = free_port()
        config = [word for name, value in CONFIG.items() for word in (f"--{name}", value)]
        server = stack.enter_context(running("valkey", folders[0], *config, port=port))
        stack.enter_context(running("valkey", folders[1], "--replicaof", "127.0.0.1", str(port)))
        print("| durability | requests in one pipeline | accepted per second | median | 99 % |")
        print("|---|---|---|---|---|")
        for durability in ("memory", "fsync", "replicas"):
            server.call("CONFIG", "SET", "appendfsync", "always" if durability == "fsync" else "everysec")
            settings = {"db_url": server.url, "durability": durability}
            store = await Store.connect(Settings.model_validate(settings))
            await settled(store)
            for batch in BATCHES:
                rate, median, p99 = await measure(store, batch)
                print(
                    f"| {durability} | {batch} | {rate:,.0f} | {median:.2f} ms | {p99:.2f} ms |", flush=True
                )
            await store.close()


async def settled(store: Store) -> None:
    """Return when the replica is in sync."""
    while True:
        try:
            await store.run([("SET", "ready", "1")], durable=True)
        except NotDurable:
            await asyncio.sleep(0.2)
        else:
            return


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
