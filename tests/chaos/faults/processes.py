"""Edges and workers are killed (as by the OOM killer), restarted, suspended and added."""

from __future__ import annotations

import asyncio
import signal

from tests.chaos.faults.injector import LEASE_SECONDS, Fault, FaultInjector
from tests.processes import Process


async def kill_edge(injector: FaultInjector) -> None:
    await injector.kill(injector.random.choice(injector.deployment.edges))


async def kill_worker(injector: FaultInjector) -> None:
    await injector.kill(injector.random.choice(injector.deployment.workers))


async def restart_edge(injector: FaultInjector) -> None:
    await injector.kill(injector.random.choice(injector.deployment.edges), signal.SIGTERM)


async def restart_worker(injector: FaultInjector) -> None:
    await injector.kill(injector.random.choice(injector.deployment.workers), signal.SIGTERM)


async def freeze_edge(injector: FaultInjector) -> None:
    await injector.freeze(injector.random.choice(injector.deployment.edges), LEASE_SECONDS * 1.5)


async def freeze_worker(injector: FaultInjector) -> None:
    await injector.freeze(injector.random.choice(injector.deployment.workers), LEASE_SECONDS * 1.5)


async def join_edge(injector: FaultInjector) -> None:
    """Add an edge for a while. Shards move to it, and back when it leaves."""
    await _add_for_a_while(injector, injector.deployment.add_edge())


async def join_worker(injector: FaultInjector) -> None:
    """Add a worker for a while."""
    await _add_for_a_while(injector, injector.deployment.add_worker())


async def _add_for_a_while(injector: FaultInjector, process: Process) -> None:
    process.start()
    await asyncio.sleep(LEASE_SECONDS * injector.random.uniform(0.5, 1.5))
    await asyncio.to_thread(process.end, injector.random.choice((signal.SIGTERM, signal.SIGKILL)))


EDGES: dict[str, Fault] = {
    "kill edge": kill_edge,
    "restart edge": restart_edge,
    "freeze edge": freeze_edge,
    "join edge": join_edge,
}
WORKERS: dict[str, Fault] = {
    "kill worker": kill_worker,
    "restart worker": restart_worker,
    "freeze worker": freeze_worker,
    "join worker": join_worker,
}
