"""One chaos run: rooms full of users, faults at random, and the verdict."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from tests.chaos.clocks import Clocks
from tests.chaos.faults.load import MAX_BACKLOG
from tests.chaos.faults.saboteur import Lanes, Saboteur, Site
from tests.chaos.history import History, Verdict
from tests.chaos.plant import Plant
from tests.chaos.servers import Single
from tests.chaos.streams import WAITING, backlog, failed, unrest
from tests.chaos.users import Population
from tests.ports import free_port

QUIET_SECONDS = 90.0
OFTEN = ("edges", "workers")
"""Lanes in which faults follow each other quickly: they do not stop all."""
SELDOM = 5
"""How much longer pauses are in the others."""


@dataclass(frozen=True)
class Scale:
    """How much goes on: ``talkers`` speak in each room all the time, ``wanderers`` come and go."""

    rooms: int = 6
    talkers: int = 4
    wanderers: int = 2
    edges: int = 2
    workers: int = 2
    pause: float = 0.05
    fault_pause: float = 2.0
    longest_fault: float = 30.0


@dataclass(frozen=True)
class Outcome:
    """The verdict with what was done, and whatever else was wrong."""

    verdict: Verdict
    faults: dict[str, int]
    problems: list[str]
    left_over: int
    folder: Path | None = None
    """Where history, logs and the servers' data are, if anything was wrong."""

    @property
    def ok(self) -> bool:
        return self.verdict.ok and not self.problems and not self.left_over

    @property
    def findings(self) -> list[str]:
        """Each thing that was wrong, in words."""
        verdict = self.verdict
        found = verdict.lost + verdict.doubled + verdict.misdirected + verdict.reordered
        return found + self.problems

    def __str__(self) -> str:
        return f"{self.verdict}, faults {sum(self.faults.values())}, entries left in streams {self.left_over}"


class Run:
    """One plant, its users, and the clock of the run."""

    def __init__(self, kind: type[Single], seed: int, scale: Scale, folder: Path) -> None:
        self._scale = scale
        self._random = random.Random(seed)
        self._proxy_port = free_port()
        self._redis = kind(folder)
        settings = {"IMC_MAX_BACKLOG": str(MAX_BACKLOG)}
        self.plant = Plant(self._redis, folder, scale.edges, scale.workers, self._proxy_port, **settings)
        self._clocks = self._give_clocks(folder) if Clocks.available() else None
        self._seed = seed
        self._folder = folder
        self._stop = asyncio.Event()

    def _give_clocks(self, folder: Path) -> Clocks:
        clocks = Clocks(folder)
        for process in (*self._redis.servers.values(), *self.plant.edges, *self.plant.workers):
            clocks.give(process)
        return clocks

    async def play(self, seconds: float, lanes: Lanes) -> Outcome:
        """Plays for ``seconds``, lets everything come to rest, and judges."""
        users = await Population.open(self.plant.edge_ports, self._proxy_port)
        site = Site(self.plant, users, self._stop, self._scale.longest_fault, self._clocks)
        try:
            await asyncio.to_thread(self.plant.start)
            await self._open_rooms(users)
            await self._hurt(site, seconds, lanes)
            left_over = await self._come_to_rest()
            users.problems += await asyncio.to_thread(unrest, self._redis)
            users.problems += await asyncio.to_thread(failed, self._redis, site.poisoned, users.unheard)
        finally:
            users.close()
            await asyncio.to_thread(self.plant.stop)
        verdict = users.history.judge(users.rooms)
        outcome = Outcome(verdict, dict(site.done), users.problems, left_over)
        if not outcome.ok:
            self._keep(users.history, outcome, site.schedule)
        return outcome

    async def _hurt(self, site: Site, seconds: float, lanes: Lanes) -> None:
        """All lanes of faults while users talk; returns when the last fault is mended."""
        async with asyncio.TaskGroup() as group:
            self._start_users(group, site.users)
            for lane, faults in lanes.items():
                pause = self._scale.fault_pause * (1 if lane in OFTEN else SELDOM)
                group.create_task(Saboteur(site, self._seed, lane).run(faults, pause))
            await asyncio.sleep(seconds)
            self._stop.set()
        await Saboteur(site, self._seed, "rest").in_service()

    def _keep(self, history: History, outcome: Outcome, schedule: list[str]) -> None:
        """Beside the servers' data and every log: the verdict, and what users sent and got, by time."""
        (self._folder / "verdict").write_text("\n".join([str(outcome), *outcome.findings]) + "\n")
        (self._folder / "faults").write_text("\n".join(schedule) + "\n")
        (self._folder / "history").write_text(history.as_text())

    async def _open_rooms(self, users: Population) -> None:
        users.rooms = {f"room{number}": f"anchor{number}" for number in range(self._scale.rooms)}
        await asyncio.gather(
            *(users.command(anchor, room, "#create") for room, anchor in users.rooms.items())
        )

    def _start_users(self, group: asyncio.TaskGroup, users: Population) -> None:
        names = (f"u{number}" for number in range(1, 1_000_000))
        for number in range(self._scale.rooms):
            for _ in range(self._scale.talkers):
                group.create_task(self._talk(users, next(names), f"room{number}"))
            for _ in range(self._scale.wanderers):
                group.create_task(self._wander(users, next(names), f"room{number}"))

    async def _talk(self, users: Population, name: str, room: str) -> None:
        await users.command(name, room, "#join")
        number = 0
        while not self._stop.is_set():
            number += 1
            await users.say(name, room, f"{name}.{number}")
            await asyncio.sleep(self._random.uniform(0, 2 * self._scale.pause))

    async def _wander(self, users: Population, name: str, room: str) -> None:
        number = 0
        while not self._stop.is_set():
            await users.command(name, room, "#join")
            for _ in range(self._random.randrange(6)):
                number += 1
                await users.say(name, room, f"{name}.{number}")
                await asyncio.sleep(self._random.uniform(0, 4 * self._scale.pause))
            await users.command(name, room, "#exit")

    async def _come_to_rest(self) -> int:
        """Waits until every stream is empty; the number of entries still there after QUIET_SECONDS."""
        until = time.monotonic() + QUIET_SECONDS
        while left := await asyncio.to_thread(backlog, self._redis, WAITING):
            if time.monotonic() > until:
                break
            await asyncio.sleep(0.2)
        await asyncio.sleep(0.5)
        return left


async def play(
    kind: type[Single], seconds: float, seed: int, lanes: Lanes, scale: Scale | None = None
) -> Outcome:
    """A whole run in a folder of its own, which is kept when something was wrong or broke off."""
    folder = Path(tempfile.mkdtemp(prefix="imc-chaos-"))
    outcome = await Run(kind, seed, scale or Scale(), folder).play(seconds, lanes)
    if outcome.ok:
        shutil.rmtree(folder)
        return outcome
    return replace(outcome, folder=folder)
