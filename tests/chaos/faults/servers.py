"""Servers die, hang, are away, load for long, are cut off from the others; replicas stop; slots move."""

from __future__ import annotations

import asyncio
import signal

from tests.chaos.faults.saboteur import PATIENCE_SECONDS, Fault, Saboteur
from tests.chaos.network import between, dropping
from tests.chaos.plant import wait_until
from tests.chaos.servers import CONTROL, Single, redis_cli, shut_down

SLOW_LOAD = ("--key-load-delay", "500")
"""Microseconds for each command that is read back."""


async def freeze_redis(saboteur: Saboteur) -> None:
    """Shorter than any failover: commands time out with an unknown outcome, and were carried out."""
    port = await saboteur.primary()
    await saboteur.freeze(saboteur.redis.servers[port], 0.8)
    await saboteur.in_service()  # on a busy machine it may have led to one all the same


async def kill_redis(saboteur: Saboteur) -> None:
    """A primary dies; alone it comes back from its AOF, otherwise a replica must take over first."""
    redis = saboteur.redis
    before = await saboteur.primaries()
    port = saboteur.random.choice(before)
    await asyncio.to_thread(redis.servers[port].end)
    if redis.replicas:
        await _replaced(redis, port, before)
    else:
        await asyncio.sleep(1)
    redis.servers[port].start()
    await saboteur.in_service()


async def _replaced(redis: Single, port: int, before: list[int]) -> None:
    def replaced() -> bool:
        now = redis.primaries()
        return port not in now and len(now) == len(before)

    await asyncio.to_thread(wait_until, replaced, f"take-over from {port}", PATIENCE_SECONDS)


async def outage(saboteur: Saboteur) -> None:
    """No server at all, for up to the longest time there is."""
    redis = saboteur.redis
    await saboteur.primaries()
    await asyncio.to_thread(redis.close_down)
    await saboteur.last(1)
    await asyncio.to_thread(redis.come_back)
    await saboteur.in_service()


async def load_long(saboteur: Saboteur) -> None:
    """A primary starts again, and says LOADING for a while."""
    port = await saboteur.primary()
    server = saboteur.redis.servers[port]
    await asyncio.to_thread(shut_down, server)
    usual = server.command
    server.command = [*usual, *SLOW_LOAD]
    server.start()
    server.command = usual
    await saboteur.last(0.25)
    await saboteur.insist(port, "CONFIG", "SET", "key-load-delay", "0")
    await saboteur.in_service()


async def cut_primary_off(saboteur: Saboteur) -> None:
    """From replicas, other primaries and sentinels, not from edges and workers; one takes over meanwhile."""
    redis = saboteur.redis
    before = await saboteur.primaries()
    port = saboteur.random.choice(before)
    async with dropping(*between((redis.hosts[port],), ("!", CONTROL))):
        await _replaced(redis, port, before)
        await saboteur.last(0.2)
    await saboteur.in_service()


async def freeze_replicas(saboteur: Saboteur) -> None:
    """All of them: nothing can be acknowledged by one, so nothing may be accepted."""
    before = await saboteur.primaries()
    replicas = [port for port in saboteur.redis.servers if port not in before]
    for port in replicas:
        saboteur.redis.servers[port].send(signal.SIGSTOP)
    await saboteur.last(0.3)
    for port in replicas:
        saboteur.redis.servers[port].send(signal.SIGCONT)
    await saboteur.in_service()


async def move_slot(saboteur: Saboteur) -> None:
    """One shard's slot goes to another primary while messages flow (MOVED, ASK, TRYAGAIN)."""
    ports = await saboteur.primaries()
    slot = await saboteur.cli(ports[0], "CLUSTER", "KEYSLOT", f"imc:{{{saboteur.random.randrange(16)}}}:in")
    ids = {port: await saboteur.cli(port, "CLUSTER", "MYID") for port in ports}
    source = next((port for port in ports if _holds(port, int(slot))), ports[0])
    target = saboteur.random.choice([port for port in ports if port != source])
    await asyncio.to_thread(_move, slot, source, target, ids)


def _holds(port: int, slot: int) -> bool:
    for line in redis_cli(port, "CLUSTER", "NODES").splitlines():
        words = line.split()
        if "myself" in words[2]:
            ranges = [word.partition("-") for word in words[8:] if not word.startswith("[")]
            return any(int(low) <= slot <= int(high or low) for low, _, high in ranges)
    return False


def _move(slot: str, source: int, target: int, ids: dict[int, str]) -> None:
    """As a careful operator: other faults cut its connections too, and a step left out loses keys."""
    _insist(target, "SETSLOT", slot, "IMPORTING", ids[source])
    _insist(source, "SETSLOT", slot, "MIGRATING", ids[target])
    while True:
        counted = redis_cli(source, "CLUSTER", "COUNTKEYSINSLOT", slot)
        if counted == "0":
            break
        keys = redis_cli(source, "CLUSTER", "GETKEYSINSLOT", slot, "5").split()
        # REPLACE: an earlier try may have got there without its answer coming back; the source's is the one
        # that counts, for it is served there until it goes
        redis_cli(source, "MIGRATE", CONTROL, str(target), "", "0", "5000", "REPLACE", "KEYS", *keys)
    for port in (target, *(port for port in ids if port != target)):
        _insist(port, "SETSLOT", slot, "NODE", ids[target])


def _insist(port: int, *words: str) -> None:
    """The cluster command, until the server says that it is done."""
    wait_until(lambda: redis_cli(port, "CLUSTER", *words) == "OK", f"CLUSTER {' '.join(words)} on {port}")


ANY: dict[str, Fault] = {
    "kill redis": kill_redis,
    "freeze redis": freeze_redis,
    "outage": outage,
    "loading": load_long,
}
REPLICATED: dict[str, Fault] = {"freeze replicas": freeze_replicas}
NETWORKED: dict[str, Fault] = {"cut primary off": cut_primary_off}
CLUSTERED: dict[str, Fault] = {"move slot": move_slot}
