"""The wall clock of an edge or a worker jumps an hour ahead or back, and is set right again later.

Redis's own is left to a test without other faults: a request whose answer was lost is forgotten when Redis's
clock jumps ahead, and its repetition is a new one (docs/reliability.md).
"""

from __future__ import annotations

from tests.chaos.faults.saboteur import Fault, Saboteur
from tests.chaos.plant import Process

HOUR = 3600


async def jump_edge(saboteur: Saboteur) -> None:
    await _jump(saboteur, saboteur.plant.edges)


async def jump_worker(saboteur: Saboteur) -> None:
    await _jump(saboteur, saboteur.plant.workers)


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
