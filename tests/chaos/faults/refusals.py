"""Servers that answer, and refuse: no memory (OOM), no disk (MISCONF), held up by a script (BUSY)."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import suppress
from pathlib import Path

from tests.chaos.faults.saboteur import PATIENCE_SECONDS, Fault, Saboteur
from tests.chaos.servers import redis_cli

PART = 0.15
"""Of the longest time: while it lasts nothing gets in, and other lanes stop all, too."""


async def fill_memory(saboteur: Saboteur) -> None:
    """For a moment no primary has memory left: what comes in is refused, what is in goes out."""
    ports = await saboteur.primaries()
    for port in ports:
        await saboteur.cli(port, "CONFIG", "SET", "maxmemory", "1")
    await saboteur.last(PART)
    for port in ports:
        await saboteur.insist(port, "CONFIG", "SET", "maxmemory", "0")
    await saboteur.in_service()


async def fill_disk(saboteur: Saboteur) -> None:
    """Primaries cannot save, so they take no writes. A folder in the dump's place stands for a full disk."""
    ports = await saboteur.primaries()
    for port in ports:
        dump = _dump(saboteur, port)
        with suppress(FileNotFoundError):
            dump.unlink()
        (dump / "in the way").mkdir(parents=True)
        await saboteur.cli(port, "CONFIG", "SET", "save", "3600 100000")
        await saboteur.cli(port, "BGSAVE")
    await saboteur.last(PART)
    for port in ports:
        shutil.rmtree(_dump(saboteur, port))
        await saboteur.insist(port, "CONFIG", "SET", "save", "")
    await saboteur.in_service()


def _dump(saboteur: Saboteur, port: int) -> Path:
    return saboteur.redis.servers[port].folder / "dump.rdb"


async def run_for_ever(saboteur: Saboteur) -> None:
    """Somebody else's script runs for ever, until it is killed.

    Where replicas are, before a failover: a primary that is replaced while it lives goes on with another
    replica for a moment, and what they agree on is gone: more than `wait_replicas = 1` bears.
    """
    port = await saboteur.primary()
    await saboteur.cli(port, "CONFIG", "SET", "busy-reply-threshold", "100")
    script = asyncio.create_task(
        asyncio.to_thread(redis_cli, port, "EVAL", "while true do end", "0", seconds=PATIENCE_SECONDS)
    )
    await (saboteur.wait(0.5) if saboteur.redis.replicas else saboteur.last(PART))
    while not script.done():
        await saboteur.cli(port, "SCRIPT", "KILL")
        await asyncio.wait([script], timeout=0.2)
    await saboteur.insist(port, "CONFIG", "SET", "busy-reply-threshold", "5000")
    await saboteur.in_service()


ANY: dict[str, Fault] = {"memory full": fill_memory, "disk full": fill_disk, "endless script": run_for_ever}
