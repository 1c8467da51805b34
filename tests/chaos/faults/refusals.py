"""Redis replies with errors: no memory (OOM), no disk (MISCONF), blocked by a script (BUSY)."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import suppress
from pathlib import Path

from tests.chaos.faults.injector import PATIENCE_SECONDS, Fault, FaultInjector
from tests.chaos.servers import redis_cli

PART = 0.15
"""Part of the longest time. It is short because nothing is accepted meanwhile."""


async def fill_memory(injector: FaultInjector) -> None:
    """All primaries are out of memory: new requests are refused, accepted ones are still delivered."""
    ports = await injector.primaries()
    for port in ports:
        await injector.cli(port, "CONFIG", "SET", "maxmemory", "1")
    await injector.last(PART)
    for port in ports:
        await injector.insist(port, "CONFIG", "SET", "maxmemory", "0")
    await injector.in_service()


async def fill_disk(injector: FaultInjector) -> None:
    """Primaries cannot save, so they refuse writes. A folder with the dump's name simulates a full disk.

    They refuse PING as well, so Sentinel replaces them. With Sentinel it ends earlier, see `run_for_ever`.
    In a Cluster it leads to no failover.
    """
    ports = await injector.primaries()
    for port in ports:
        dump = _dump(injector, port)
        with suppress(FileNotFoundError):
            dump.unlink()
        (dump / "in the way").mkdir(parents=True)
        await injector.cli(port, "CONFIG", "SET", "save", "3600 100000")
        await injector.cli(port, "BGSAVE")
    await (injector.wait(0.5) if injector.redis.kind == "sentinel" else injector.last(PART))
    for port in ports:
        shutil.rmtree(_dump(injector, port))
        await injector.insist(port, "CONFIG", "SET", "save", "")
    await injector.in_service()


def _dump(injector: FaultInjector, port: int) -> Path:
    return injector.redis.servers[port].folder / "dump.rdb"


async def run_for_ever(injector: FaultInjector) -> None:
    """A foreign script loops until it is killed.

    With replicas it ends before a failover. A primary that is replaced while it still runs accepts requests
    for a moment with another replica, and these are lost: `wait_replicas = 1` does not cover that.
    """
    port = await injector.primary()
    await injector.cli(port, "CONFIG", "SET", "busy-reply-threshold", "100")
    script = asyncio.create_task(
        asyncio.to_thread(redis_cli, port, "EVAL", "while true do end", "0", seconds=PATIENCE_SECONDS)
    )
    await (injector.wait(0.5) if injector.redis.replicas else injector.last(PART))
    while not script.done():
        await injector.cli(port, "SCRIPT", "KILL")
        await asyncio.wait([script], timeout=0.2)
    await injector.insist(port, "CONFIG", "SET", "busy-reply-threshold", "5000")
    await injector.in_service()


ANY: dict[str, Fault] = {"memory full": fill_memory, "disk full": fill_disk, "endless script": run_for_ever}
