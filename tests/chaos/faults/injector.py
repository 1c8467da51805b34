"""Carries out the faults of one lane, one after another, from a seed."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from tests.chaos.clocks import Clocks
from tests.chaos.deployment import Deployment
from tests.chaos.servers import is_up, redis_cli
from tests.chaos.users import Population
from tests.processes import Process, wait_until

LEASE_SECONDS = 3.0
PATIENCE_SECONDS = 120.0
"""Seconds to wait for something to happen while other faults are active."""


@dataclass
class Target:
    """The service that faults act on, and what they did, for the checks at the end."""

    deployment: Deployment
    users: Population
    stop: asyncio.Event
    """Set when the run's time is over; faults then end."""
    longest: float
    """The longest duration of a fault in seconds; most faults last a part of it."""
    members: dict[str, list[str]]
    """Those who talk in each room all the time, and may be away for a while."""
    clocks: Clocks | None = None
    done: Counter[str] = field(default_factory=Counter)
    schedule: list[str] = field(default_factory=list)
    """The start and end of each fault, by the clock of the users' history."""
    failing_rooms: list[str] = field(default_factory=list)
    """Rooms whose requests must all end in the dead letters."""


class FaultInjector:
    """Carries out one fault after another until the run is over; every fault ends by itself.

    There is one injector for each lane, and lanes overlap: an edge may die during a failover of Redis. Each
    has its own random numbers from the seed, so its schedule does not depend on the duration of other faults.
    """

    def __init__(self, target: Target, seed: int, lane: str) -> None:
        self.target = target
        self.deployment = target.deployment
        self.redis = target.deployment.redis
        self.random = random.Random(f"{seed} {lane}")

    async def run(self, faults: dict[str, Callable[[FaultInjector], Awaitable[None]]], pause: float) -> None:
        """Carry out random faults, with random pauses of up to ``pause`` seconds between them."""
        names = sorted(faults)
        while not self.target.stop.is_set():
            name = self.random.choice(names)
            begun = time.monotonic()
            await faults[name](self)
            self.target.schedule.append(f"{begun:.3f} {name}, ended {time.monotonic():.3f}")
            self.target.done[name] += 1
            await self.wait(self.random.uniform(0.1, pause))

    async def wait(self, seconds: float) -> None:
        """Wait so many seconds, or until the end of the run."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.target.stop.wait(), seconds)

    async def last(self, part: float) -> None:
        """Wait for the duration of a fault: random, up to this part of the longest."""
        await self.wait(self.random.uniform(0.1, part) * self.target.longest)

    async def primaries(self) -> list[int]:
        """The ports of the servers that accept writes; waits until there is one."""
        found: list[int] = []

        def there() -> bool:
            found[:] = sorted(self.redis.primaries(), key=list(self.redis.servers).index)
            return bool(found)

        await asyncio.to_thread(wait_until, there, "a primary", PATIENCE_SECONDS)
        return found

    async def primary(self) -> int:
        """The port of a random primary."""
        return self.random.choice(await self.primaries())

    async def cli(self, port: int, *words: str) -> str:
        return await asyncio.to_thread(redis_cli, port, *words)

    async def insist(self, port: int, *words: str) -> None:
        """Repeat a command until the server replies OK, since other faults may interfere."""
        await asyncio.to_thread(
            wait_until,
            lambda: redis_cli(port, *words, seconds=5) == "OK",
            f"{' '.join(words)} at {port}",
            PATIENCE_SECONDS,
        )

    async def kill(self, process: Process, number: signal.Signals = signal.SIGKILL) -> None:
        """End the process and start it again a moment later."""
        await asyncio.to_thread(process.end, number)
        await asyncio.sleep(self.random.uniform(0.0, 1.5))
        process.start()

    async def freeze(self, process: Process, seconds: float) -> None:
        """Suspend the process for so many seconds."""
        process.send(signal.SIGSTOP)
        await self.wait(seconds)
        process.send(signal.SIGCONT)

    async def in_service(self) -> None:
        """Wait until each server has its role and every replica is in sync, before the next fault.

        What a primary accepted is on at least one replica. If that one is promoted and fails before the other
        replica is in sync, the data are lost: `durability = replicas` does not cover two successive failures.
        """
        # All at one moment: a primary may serve until it hears that it was replaced.
        await asyncio.to_thread(
            wait_until,
            lambda: all(self._serves(port) for port in self.redis.servers),
            "service of all servers",
            PATIENCE_SECONDS,
        )

    def _serves(self, port: int) -> bool:
        """Whether the server responds, as a known primary or as a replica in sync."""
        if not is_up(port):
            return False
        replication = redis_cli(port, "INFO", "replication")
        if "role:master" in replication:
            if port not in self.redis.primaries():
                return False
            return not self.redis.replicas or "state=online" in replication
        return "master_link_status:up" in replication


Fault = Callable[[FaultInjector], Awaitable[None]]
Lanes = dict[str, dict[str, Fault]]
