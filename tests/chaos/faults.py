"""What can be done to a plant, and a random schedule of it that a seed repeats."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.chaos.plant import Plant, Process, Single, answers, redis_cli, wait_until

LEASE_SECONDS = 3.0
TAKE_OVER_SECONDS = 40.0
Fault = Callable[["Saboteur"], Awaitable[None]]
Lanes = dict[str, dict[str, Fault]]
PROCESSES = ("edges", "workers")


@dataclass
class Saboteur:
    """Carries out one fault after the other until told to stop; every fault mends itself.

    There is one for each lane of faults, and lanes overlap: an edge dies while a primary is being replaced.
    Each draws from the seed by itself, so that its schedule does not depend on how long another's took.
    """

    plant: Plant
    seed: int
    lane: str
    done: Counter[str] = field(default_factory=Counter)
    schedule: list[str] = field(default_factory=list)
    """What was begun and ended when, by the clock that the users' history goes by."""

    def __post_init__(self) -> None:
        self.random = random.Random(f"{self.seed} {self.lane}")

    async def run(self, faults: dict[str, Fault], until: asyncio.Event, pause: float) -> None:
        """Faults with random pauses of up to ``pause`` seconds between them, longer where they stop all."""
        pause *= 1 if self.lane in PROCESSES else 5
        names = sorted(faults)
        while not until.is_set():
            name = self.random.choice(names)
            begun = time.monotonic()
            await faults[name](self)
            self.schedule.append(f"{begun:.3f} {name}, mended {time.monotonic():.3f}")
            self.done[name] += 1
            await asyncio.sleep(self.random.uniform(0.1, pause))

    async def kill(self, process: Process, number: signal.Signals = signal.SIGKILL) -> None:
        await asyncio.to_thread(process.end, number)
        await asyncio.sleep(self.random.uniform(0.0, 1.5))
        process.start()

    async def freeze(self, process: Process, seconds: float) -> None:
        process.send(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        process.send(signal.SIGCONT)


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


async def fill_redis(saboteur: Saboteur) -> None:
    """For a moment no primary has memory left: what comes in is refused, what is in goes out."""
    ports = saboteur.plant.redis.primaries()
    for port in ports:
        await asyncio.to_thread(redis_cli, port, "CONFIG", "SET", "maxmemory", "1")
    await asyncio.sleep(saboteur.random.uniform(0.5, 1.5))
    for port in ports:  # connections are cut meanwhile, this one too
        await asyncio.to_thread(wait_until, lambda port=port: _has_memory(port), f"memory of {port}")


def _has_memory(port: int) -> bool:
    return redis_cli(port, "CONFIG", "SET", "maxmemory", "0") == "OK"


async def flush_scripts(saboteur: Saboteur) -> None:
    for port in saboteur.plant.redis.primaries():
        await asyncio.to_thread(redis_cli, port, "SCRIPT", "FLUSH")


async def cut_connections(saboteur: Saboteur) -> None:
    for port in saboteur.plant.redis.primaries():
        await asyncio.to_thread(redis_cli, port, "CLIENT", "KILL", "TYPE", "normal")


async def freeze_redis(saboteur: Saboteur) -> None:
    """Shorter than any failover: commands time out with an unknown outcome, and were carried out."""
    port = saboteur.random.choice(saboteur.plant.redis.primaries())
    await saboteur.freeze(saboteur.plant.redis.servers[port], 0.8)
    if saboteur.plant.redis.replicas:  # on a busy machine it may have led to one all the same
        await asyncio.to_thread(
            wait_until, lambda: _in_service(saboteur, port), f"{port} in step", TAKE_OVER_SECONDS
        )


async def kill_redis(saboteur: Saboteur) -> None:
    """A primary dies; alone it comes back from its AOF, otherwise a replica must take over first."""
    redis = saboteur.plant.redis
    before = redis.primaries()
    port = saboteur.random.choice(before)
    await asyncio.to_thread(redis.servers[port].end)
    if redis.replicas:
        await asyncio.to_thread(
            wait_until, lambda: _replaced(redis, port, before), f"take-over from {port}", TAKE_OVER_SECONDS
        )
    else:
        await asyncio.sleep(1)
    redis.servers[port].start()
    await asyncio.to_thread(
        wait_until, lambda: _in_service(saboteur, port), f"return of {port}", TAKE_OVER_SECONDS
    )


def _replaced(redis: Single, port: int, before: list[int]) -> bool:
    now = redis.primaries()
    return port not in now and len(now) == len(before)


def _in_service(saboteur: Saboteur, port: int) -> bool:
    """The server answers, and as a replica it follows its primary again: the next kill finds a successor."""
    if not answers(port):
        return False
    replication = redis_cli(port, "INFO", "replication")
    if "role:master" in replication:
        return not saboteur.plant.redis.replicas or "state=online" in replication
    return "master_link_status:up" in replication


async def move_slot(saboteur: Saboteur) -> None:
    """One shard's slot goes to another primary while messages flow (MOVED, ASK, TRYAGAIN)."""
    ports = await asyncio.to_thread(saboteur.plant.redis.primaries)
    slot = redis_cli(ports[0], "CLUSTER", "KEYSLOT", f"imc:{{{saboteur.random.randrange(16)}}}:in")
    ids = {port: redis_cli(port, "CLUSTER", "MYID") for port in ports}
    source = next(port for port in ports if _holds(port, int(slot)))
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
        redis_cli(source, "MIGRATE", "127.0.0.1", str(target), "", "0", "5000", "REPLACE", "KEYS", *keys)
    for port in (target, *(port for port in ids if port != target)):
        _insist(port, "SETSLOT", slot, "NODE", ids[target])


def _insist(port: int, *words: str) -> None:
    """The cluster command, until the server says that it is done."""
    wait_until(lambda: redis_cli(port, "CLUSTER", *words) == "OK", f"CLUSTER {' '.join(words)} on {port}")


LANES: Lanes = {
    "edges": {
        "kill edge": kill_edge,
        "restart edge": restart_edge,
        "freeze edge": freeze_edge,
        "join edge": join_edge,
    },
    "workers": {
        "kill worker": kill_worker,
        "restart worker": restart_worker,
        "freeze worker": freeze_worker,
        "join worker": join_worker,
    },
    "redis": {"kill redis": kill_redis, "freeze redis": freeze_redis, "fill redis": fill_redis},
    "connections": {"flush scripts": flush_scripts, "cut connections": cut_connections},
}


def faults_for(kind: str) -> Lanes:
    """The faults that make sense for a Redis of this kind; those of different lanes overlap."""
    if kind != "cluster":
        return LANES
    return LANES | {"redis": LANES["redis"] | {"move slot": move_slot}}
