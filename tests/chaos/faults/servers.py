"""Redis servers die, hang, load slowly, are isolated or all stop; replicas are suspended; slots move."""

from __future__ import annotations

import asyncio
import signal

from tests.chaos.faults.injector import PATIENCE_SECONDS, Fault, FaultInjector
from tests.chaos.network import between, dropping
from tests.chaos.servers import CONTROL, Single, redis_cli, shut_down
from tests.processes import wait_until

SLOW_LOAD = ("--key-load-delay", "500")
"""Microseconds for each command that is loaded."""


async def freeze_redis(injector: FaultInjector) -> None:
    """Suspend a primary, too short for a failover. Commands time out although they are carried out later."""
    port = await injector.primary()
    await injector.freeze(injector.redis.servers[port], 0.8)
    await injector.in_service()  # on a busy machine there may be a failover all the same


async def kill_redis(injector: FaultInjector) -> None:
    """Kill a primary.

    A single server restarts with its append-only file; otherwise a replica takes over first.
    """
    redis = injector.redis
    before = await injector.primaries()
    port = injector.random.choice(before)
    await asyncio.to_thread(redis.servers[port].end)
    if redis.replicas:
        await _replaced(redis, port, before)
    else:
        await asyncio.sleep(1)
    redis.servers[port].start()
    await injector.in_service()


async def _replaced(redis: Single, port: int, before: list[int]) -> None:
    def replaced() -> bool:
        now = redis.primaries()
        return port not in now and len(now) == len(before)

    await asyncio.to_thread(wait_until, replaced, f"take-over from {port}", PATIENCE_SECONDS)


async def outage(injector: FaultInjector) -> None:
    """Stop all servers, for up to the longest duration."""
    redis = injector.redis
    await injector.primaries()
    await asyncio.to_thread(redis.stop_all)
    await injector.last(1)
    await asyncio.to_thread(redis.start_all)
    await injector.in_service()


async def load_long(injector: FaultInjector) -> None:
    """Restart a primary that replies LOADING for a while."""
    port = await injector.primary()
    server = injector.redis.servers[port]
    await asyncio.to_thread(shut_down, server)
    usual = server.command
    server.command = [*usual, *SLOW_LOAD]
    server.start()
    server.command = usual
    await injector.last(0.25)
    await injector.insist(port, "CONFIG", "SET", "key-load-delay", "0")
    await injector.in_service()


async def isolate_primary(injector: FaultInjector) -> None:
    """Isolate a primary from replicas, other primaries and sentinels, but not from edges and workers.

    Meanwhile a replica is promoted.
    """
    redis = injector.redis
    before = await injector.primaries()
    port = injector.random.choice(before)
    async with dropping(*between((redis.hosts[port],), ("!", CONTROL))):
        await _replaced(redis, port, before)
        await injector.last(0.2)
    await injector.in_service()


async def freeze_replicas(injector: FaultInjector) -> None:
    """Suspend all replicas. No write can be confirmed, so nothing may be accepted."""
    before = await injector.primaries()
    replicas = [port for port in injector.redis.servers if port not in before]
    for port in replicas:
        injector.redis.servers[port].send(signal.SIGSTOP)
    await injector.last(0.3)
    for port in replicas:
        injector.redis.servers[port].send(signal.SIGCONT)
    await injector.in_service()


async def move_slot(injector: FaultInjector) -> None:
    """Move one shard's slot to another primary under load (MOVED, ASK, TRYAGAIN)."""
    ports = await injector.primaries()
    slot = await _word(injector, ports[0], "KEYSLOT", f"imc:{{{injector.random.randrange(16)}}}:in")
    ids = {port: await _word(injector, port, "MYID") for port in ports}
    source = next((port for port in ports if _holds(port, int(slot))), ports[0])
    target = injector.random.choice([port for port in ports if port != source])
    await asyncio.to_thread(_move, slot, source, target, ids)


async def _word(injector: FaultInjector, port: int, *command: str) -> str:
    """The one word that a server of the cluster answers, once another fault lets it answer."""
    while True:
        reply = await injector.cli(port, "CLUSTER", *command)
        if reply and " " not in reply:
            return reply
        await asyncio.sleep(0.2)


def _holds(port: int, slot: int) -> bool:
    for line in redis_cli(port, "CLUSTER", "NODES").splitlines():
        words = line.split()
        if "myself" in words[2]:
            ranges = [word.partition("-") for word in words[8:] if not word.startswith("[")]
            return any(int(low) <= slot <= int(high or low) for low, _, high in ranges)
    return False


def _move(slot: str, source: int, target: int, ids: dict[int, str]) -> None:
    """Move a slot carefully: other faults may interrupt any step, and a skipped step would lose keys."""
    _insist(target, "SETSLOT", slot, "IMPORTING", ids[source])
    _insist(source, "SETSLOT", slot, "MIGRATING", ids[target])
    while True:
        counted = redis_cli(source, "CLUSTER", "COUNTKEYSINSLOT", slot)
        if counted == "0":
            break
        keys = redis_cli(source, "CLUSTER", "GETKEYSINSLOT", slot, "5").split()
        # REPLACE: an earlier MIGRATE may have copied the key although its reply was lost. The copy at the
        # source counts, since it is the one in use until the key is moved.
        redis_cli(source, "MIGRATE", CONTROL, str(target), "", "0", "5000", "REPLACE", "KEYS", *keys)
    for port in (target, *(port for port in ids if port != target)):
        _insist(port, "SETSLOT", slot, "NODE", ids[target])


def _insist(port: int, *words: str) -> None:
    """Repeat a cluster command until the server replies OK."""
    wait_until(lambda: redis_cli(port, "CLUSTER", *words) == "OK", f"CLUSTER {' '.join(words)} on {port}")


ANY: dict[str, Fault] = {
    "kill redis": kill_redis,
    "freeze redis": freeze_redis,
    "outage": outage,
    "loading": load_long,
}
REPLICATED: dict[str, Fault] = {"freeze replicas": freeze_replicas}
NETWORKED: dict[str, Fault] = {"isolate primary": isolate_primary}
CLUSTERED: dict[str, Fault] = {"move slot": move_slot}
