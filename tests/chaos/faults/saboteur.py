"""Who does the faults of one lane, one after the other, from a seed."""

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
from tests.chaos.plant import Plant, Process, wait_until
from tests.chaos.servers import answers, redis_cli
from tests.chaos.users import Population

LEASE_SECONDS = 3.0
PATIENCE_SECONDS = 120.0
"""For what happens by itself, with other faults about."""


@dataclass
class Site:
    """What faults are done to, and what they did that has to be found at the end."""

    plant: Plant
    users: Population
    stop: asyncio.Event
    """Set when the run's time is over: faults mend themselves then."""
    longest: float
    """Seconds that the longest of faults last; others last a part of it."""
    clocks: Clocks | None = None
    done: Counter[str] = field(default_factory=Counter)
    schedule: list[str] = field(default_factory=list)
    """What was begun and ended when, by the clock that the users' history goes by."""
    poisoned: list[str] = field(default_factory=list)
    """Rooms in which each request has to end in the dead letters."""


class Saboteur:
    """Carries out one fault after the other until told to stop; every fault mends itself.

    There is one for each lane of faults, and lanes overlap: an edge dies while a primary is being replaced.
    Each draws from the seed by itself, so that its schedule does not depend on how long another's took.
    """

    def __init__(self, site: Site, seed: int, lane: str) -> None:
        self.site = site
        self.plant = site.plant
        self.redis = site.plant.redis
        self.random = random.Random(f"{seed} {lane}")

    async def run(self, faults: dict[str, Callable[[Saboteur], Awaitable[None]]], pause: float) -> None:
        """Faults, with random pauses of up to ``pause`` seconds between them."""
        names = sorted(faults)
        while not self.site.stop.is_set():
            name = self.random.choice(names)
            begun = time.monotonic()
            await faults[name](self)
            self.site.schedule.append(f"{begun:.3f} {name}, mended {time.monotonic():.3f}")
            self.site.done[name] += 1
            await self.wait(self.random.uniform(0.1, pause))

    async def wait(self, seconds: float) -> None:
        """So many seconds, or until the run's end."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.site.stop.wait(), seconds)

    async def last(self, part: float) -> None:
        """As long as a fault lasts: at random up to this part of the longest."""
        await self.wait(self.random.uniform(0.1, part) * self.site.longest)

    async def primaries(self) -> list[int]:
        """The ports of those that take writes; waits until there is one."""
        found: list[int] = []

        def there() -> bool:
            found[:] = sorted(self.redis.primaries(), key=list(self.redis.servers).index)
            return bool(found)

        await asyncio.to_thread(wait_until, there, "a primary", PATIENCE_SECONDS)
        return found

    async def primary(self) -> int:
        """One of them."""
        return self.random.choice(await self.primaries())

    async def cli(self, port: int, *words: str) -> str:
        return await asyncio.to_thread(redis_cli, port, *words)

    async def insist(self, port: int, *words: str) -> None:
        """The command, until the server says that it is done: others hurt it meanwhile."""
        await asyncio.to_thread(
            wait_until,
            lambda: redis_cli(port, *words, seconds=5) == "OK",
            f"{' '.join(words)} at {port}",
            PATIENCE_SECONDS,
        )

    async def kill(self, process: Process, number: signal.Signals = signal.SIGKILL) -> None:
        """Ends the process, and starts it again a moment later."""
        await asyncio.to_thread(process.end, number)
        await asyncio.sleep(self.random.uniform(0.0, 1.5))
        process.start()

    async def freeze(self, process: Process, seconds: float) -> None:
        """Stops the process, and wakes it."""
        process.send(signal.SIGSTOP)
        await self.wait(seconds)
        process.send(signal.SIGCONT)

    async def in_service(self) -> None:
        """Waits until each server is what it should be: who takes over from the next has to have it all.

        What a primary accepted is on one replica at least. If that is promoted, and is lost itself before the
        other replica has followed it, that one knows nothing of it: more than `durability = replicas` bears.
        """
        for port in self.redis.servers:
            await asyncio.to_thread(
                wait_until, lambda port=port: self._serves(port), f"service of {port}", PATIENCE_SECONDS
            )

    def _serves(self, port: int) -> bool:
        """It answers, as a primary that all know, or as a replica in step."""
        if not answers(port):
            return False
        replication = redis_cli(port, "INFO", "replication")
        if "role:master" in replication:
            if port not in self.redis.primaries():
                return False
            return not self.redis.replicas or "state=online" in replication
        return "master_link_status:up" in replication


Fault = Callable[[Saboteur], Awaitable[None]]
Lanes = dict[str, dict[str, Fault]]
