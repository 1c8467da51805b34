"""The wall clock of an edge, a worker or a single Redis jumps by an hour, and is corrected later.

Sentinel and Cluster use the wall clock to detect dead servers, so the clock of a replicated server is left
alone.
"""

from __future__ import annotations

from tests.chaos.faults.injector import Fault, FaultInjector
from tests.processes import Process

HOUR = 3600


async def jump_edge(injector: FaultInjector) -> None:
    await _jump(injector, injector.deployment.edges)


async def jump_worker(injector: FaultInjector) -> None:
    await _jump(injector, injector.deployment.workers)


async def jump_redis(injector: FaultInjector) -> None:
    """Leases expire, and accepted requests must not be forgotten."""
    await _jump(injector, list(injector.deployment.redis.servers.values()))


async def _jump(injector: FaultInjector, processes: list[Process]) -> None:
    clocks = injector.target.clocks
    assert clocks is not None
    process = injector.random.choice(processes)
    clocks.set(process, injector.random.choice((HOUR, -HOUR)))
    await injector.last(0.3)
    clocks.set(process, 0)


ANY: dict[str, Fault] = {
    "edge's clock": jump_edge,
    "worker's clock": jump_worker,
}
ALONE: dict[str, Fault] = {"redis's clock": jump_redis}
"""Only with a single Redis."""
