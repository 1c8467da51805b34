"""Between processes and servers: scripts and connections go; replies, packets or everything is lost."""

from __future__ import annotations

from tests.chaos.faults.saboteur import Fault, Saboteur
from tests.chaos.network import between, dropping
from tests.chaos.servers import CONTROL

PART = 0.3
LOSSY = ("-m", "statistic", "--mode", "random", "--probability", "0.1")


async def flush_scripts(saboteur: Saboteur) -> None:
    for port in await saboteur.primaries():
        await saboteur.cli(port, "SCRIPT", "FLUSH")


async def cut_connections(saboteur: Saboteur) -> None:
    for port in await saboteur.primaries():
        await saboteur.cli(port, "CLIENT", "KILL", "TYPE", "normal")


async def lose_replies(saboteur: Saboteur) -> None:
    """Commands reach a primary and are carried out, and nothing comes back from it."""
    async with dropping(("-s", await _host(saboteur), "-d", CONTROL)):
        await saboteur.last(PART)


async def cut_processes_off(saboteur: Saboteur) -> None:
    """No edge and no worker reaches a primary that is well; its replicas and sentinels do."""
    async with dropping(*between((await _host(saboteur),), (CONTROL,))):
        await saboteur.last(PART)


async def lose_packets(saboteur: Saboteur) -> None:
    """A tenth of all between processes and a primary: TCP makes delays of it, of a second and more."""
    lossy = [(*LOSSY, *rule) for rule in between((await _host(saboteur),), (CONTROL,))]
    async with dropping(*lossy):
        await saboteur.last(PART)


async def _host(saboteur: Saboteur) -> str:
    return saboteur.redis.hosts[await saboteur.primary()]


ANY: dict[str, Fault] = {"flush scripts": flush_scripts, "cut connections": cut_connections}
NETWORKED: dict[str, Fault] = {
    "lose replies": lose_replies,
    "lose packets": lose_packets,
    "cut processes off": cut_processes_off,
}
