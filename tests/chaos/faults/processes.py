"""Edges and workers die, end, hang, come and go. What the kernel kills for memory dies the same way."""

from __future__ import annotations

import asyncio
import signal

from tests.chaos.faults.saboteur import LEASE_SECONDS, Fault, Saboteur
from tests.chaos.plant import Process


async def kill_edge(saboteur: Saboteur) -> None:
    await saboteur.kill(saboteur.random.choice(saboteur.plant.edges))


async def kill_worker(saboteur: Saboteur) -> None:
    await saboteur.kill(saboteur.random.choice(saboteur.plant.workers))


async def restart_edge(saboteur: Saboteur) -> None:
    await saboteur.kill(saboteur.random.choice(saboteur.plant.edges), signal.SIGTERM)


async def restart_worker(saboteur: Saboteur) -> None:
    await saboteur.kill(saboteur.random.choice(saboteur.plant.workers), signal.SIGTERM)


async def freeze_edge(saboteur: Saboteur) -> None:
    await saboteur.freeze(saboteur.random.choice(saboteur.plant.edges), LEASE_SECONDS * 1.5)


async def freeze_worker(saboteur: Saboteur) -> None:
    await saboteur.freeze(saboteur.random.choice(saboteur.plant.workers), LEASE_SECONDS * 1.5)


async def join_edge(saboteur: Saboteur) -> None:
    """One more, that no user speaks to: shards are shared out anew, and once more when it leaves."""
    await _visit(saboteur, saboteur.plant.further_edge())


async def join_worker(saboteur: Saboteur) -> None:
    """The same for requests."""
    await _visit(saboteur, saboteur.plant.further_worker())


async def _visit(saboteur: Saboteur, process: Process) -> None:
    process.start()
    await asyncio.sleep(LEASE_SECONDS * saboteur.random.uniform(0.5, 1.5))
    await asyncio.to_thread(process.end, saboteur.random.choice((signal.SIGTERM, signal.SIGKILL)))


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
