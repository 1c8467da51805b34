"""Faults between processes and Redis: scripts and connections are removed; replies or packets are lost."""

from __future__ import annotations

from tests.chaos.faults.injector import Fault, FaultInjector
from tests.chaos.network import between, dropping
from tests.chaos.servers import CONTROL

PART = 0.3
LOSSY = ("-m", "statistic", "--mode", "random", "--probability", "0.1")


async def flush_scripts(injector: FaultInjector) -> None:
    for port in await injector.primaries():
        await injector.cli(port, "SCRIPT", "FLUSH")


async def cut_connections(injector: FaultInjector) -> None:
    for port in await injector.primaries():
        await injector.cli(port, "CLIENT", "KILL", "TYPE", "normal")


async def lose_replies(injector: FaultInjector) -> None:
    """Commands reach a primary and are carried out, but its replies are lost."""
    async with dropping(("-s", await _host(injector), "-d", CONTROL)):
        await injector.last(PART)


async def isolate_processes(injector: FaultInjector) -> None:
    """No edge or worker reaches a primary; its replicas and sentinels do."""
    async with dropping(*between((await _host(injector),), (CONTROL,))):
        await injector.last(PART)


async def lose_packets(injector: FaultInjector) -> None:
    """A tenth of the packets between processes and a primary is lost, which causes delays of seconds."""
    lossy = [(*LOSSY, *rule) for rule in between((await _host(injector),), (CONTROL,))]
    async with dropping(*lossy):
        await injector.last(PART)


async def _host(injector: FaultInjector) -> str:
    return injector.redis.hosts[await injector.primary()]


ANY: dict[str, Fault] = {"flush scripts": flush_scripts, "cut connections": cut_connections}
NETWORKED: dict[str, Fault] = {
    "lose replies": lose_replies,
    "lose packets": lose_packets,
    "isolate processes": isolate_processes,
}
