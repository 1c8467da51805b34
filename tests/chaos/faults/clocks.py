"""The wall clock of an edge, of a worker or of a lone Redis jumps an hour, and is set right again later.

Not that of one of many servers: Sentinel and Cluster judge by it who is alive, and would replace them all.
"""

from __future__ import annotations

from tests.chaos.faults.saboteur import Fault, Saboteur
from tests.chaos.plant import Process

HOUR = 3600


async def jump_edge(saboteur: Saboteur) -> None:
    await _jump(saboteur, saboteur.plant.edges)


async def jump_worker(saboteur: Saboteur) -> None:
    await _jump(saboteur, saboteur.plant.workers)


async def jump_redis(saboteur: Saboteur) -> None:
    """Leases run out, and nothing that was taken is forgotten."""
    await _jump(saboteur, list(saboteur.plant.redis.servers.values()))


async def _jump(saboteur: Saboteur, processes: list[Process]) -> None:
    clocks = saboteur.site.clocks
    assert clocks is not None
    process = saboteur.random.choice(processes)
    clocks.set(process, saboteur.random.choice((HOUR, -HOUR)))
    await saboteur.last(0.3)
    clocks.set(process, 0)


ANY: dict[str, Fault] = {
    "edge's clock": jump_edge,
    "worker's clock": jump_worker,
}
ALONE: dict[str, Fault] = {"redis's clock": jump_redis}
"""With one Redis."""
