"""One chaos run: rooms with users, random faults, and the verdict."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tests.chaos.clocks import Clocks
from tests.chaos.conference.group_chats import GroupChats, room_in_redis
from tests.chaos.conference.requests import Requests
from tests.chaos.deployment import Deployment
from tests.chaos.faults.absences import LANES
from tests.chaos.faults.injector import FaultInjector, Lanes, Target
from tests.chaos.faults.load import MAX_BACKLOG
from tests.chaos.history import History, Verdict
from tests.chaos.servers import Single
from tests.chaos.streams import WAITING, backlog, leftovers, still_away, unexpected_failures
from tests.chaos.users import Population
from tests.ports import free_port

IDLE_SECONDS = 90.0
AWAY_SECONDS = 240.0
"""Until every user is known to be back. A probe may be due after 64 s, or 120 s where an edge has died."""
HISTORY = {"IMC_HISTORY_MAX_MESSAGES": "100000", "IMC_CATCH_UP_MAX": "1000"}
"""So much that whatever a member misses is due."""
CONFERENCES = {"IMC_MAX_INVITATIONS_PER_HOUR": "0", "IMC_MAX_INVITATIONS_PER_TARGET": "0"}
"""The same few users are added and removed all the time."""
FREQUENT_LANES = ("edges", "workers", *LANES)
"""Lanes with short pauses between faults, since these do not stop the whole service."""
RARE_FACTOR = 5
"""The pauses in all other lanes are longer by this factor."""


@dataclass(frozen=True)
class Scale:
    """The load: ``talkers`` talk in each room all the time, ``wanderers`` join and leave.

    ``group_chats`` are further rooms, whose members have phones that show them as Linphone does.
    """

    rooms: int = 6
    talkers: int = 4
    wanderers: int = 2
    group_chats: int = 1
    edges: int = 2
    workers: int = 2
    pause: float = 0.05
    fault_pause: float = 2.0
    longest_fault: float = 30.0


@dataclass(frozen=True)
class Outcome:
    """The verdict, the faults, and other problems of a run."""

    verdict: Verdict
    faults: dict[str, int]
    problems: list[str]
    left_over: int
    folder: Path | None = None
    """The folder with history, logs and the servers' data, if anything was wrong."""

    @property
    def ok(self) -> bool:
        return self.verdict.ok and not self.problems and not self.left_over

    @property
    def findings(self) -> list[str]:
        """A line for each thing that was wrong."""
        verdict = self.verdict
        found = verdict.lost + verdict.doubled + verdict.misdirected + verdict.reordered + verdict.rosters
        return found + self.problems

    def __str__(self) -> str:
        return f"{self.verdict}, faults {sum(self.faults.values())}, entries left in streams {self.left_over}"


class Run:
    """One deployment, its users and their faults."""

    def __init__(self, kind: type[Single], seed: int, scale: Scale, folder: Path) -> None:
        self._scale = scale
        self._random = random.Random(seed)
        self._proxy_port = free_port()
        self._redis = kind(folder)
        settings = {"IMC_MAX_BACKLOG": str(MAX_BACKLOG), **HISTORY, **CONFERENCES}
        self.deployment = Deployment(
            self._redis, folder, scale.edges, scale.workers, self._proxy_port, **settings
        )
        self._clocks = self._give_clocks(folder) if Clocks.available() else None
        self._seed = seed
        self._folder = folder
        self._stop = asyncio.Event()

    def _give_clocks(self, folder: Path) -> Clocks:
        clocks = Clocks(folder)
        for process in (*self._redis.servers.values(), *self.deployment.edges, *self.deployment.workers):
            clocks.give(process)
        return clocks

    async def play(self, seconds: float, lanes: Lanes) -> Outcome:
        """Run for ``seconds``, wait until all streams are empty, and check."""
        users = await Population.open(self.deployment.edge_ports, self._proxy_port)
        requests = await Requests.open(self.deployment.edge_ports, self._random)
        chats = self._group_chats(users, requests)
        target = Target(
            self.deployment, users, self._stop, self._scale.longest_fault, self._members(), self._clocks
        )
        try:
            await asyncio.to_thread(self.deployment.start)
            await self._open_rooms(users)
            await self._inject_faults(target, seconds, lanes, chats)
            await chats.settle()
            left_over = await self._wait_until_idle()
            users.problems += await self._wait_until_all_are_back()
            users.problems += await asyncio.to_thread(leftovers, self._redis)
            users.problems += await asyncio.to_thread(
                unexpected_failures, self._redis, target.failing_rooms, users.been_absent | chats.users
            )
            verdict = users.history.check(users.rooms)
            await asyncio.to_thread(chats.check, users.history, verdict)
        finally:
            users.close()
            requests.close()
            await asyncio.to_thread(self.deployment.stop)
        outcome = Outcome(verdict, dict(target.done), users.problems, left_over)
        if not outcome.ok:
            self._keep(users.history, outcome, target.schedule)
        return outcome

    def _group_chats(self, users: Population, requests: Requests) -> GroupChats:
        pause, longest = self._scale.pause, self._scale.longest_fault
        random_ = random.Random(f"{self._seed} group chats")
        chats = GroupChats(
            requests,
            users.proxy,
            partial(room_in_redis, self._redis),
            users.problems,
            random=random_,
            stop=self._stop,
            pause=pause,
            longest=longest / 2,
        )
        for number in range(self._scale.group_chats):
            chats.add(number)
        return chats

    async def _inject_faults(self, target: Target, seconds: float, lanes: Lanes, chats: GroupChats) -> None:
        """Run all lanes of faults while users talk; returns when every fault has ended."""
        async with asyncio.TaskGroup() as group:
            self._start_users(group, target.users)
            for chat in chats.chats:
                group.create_task(chat.run())
            for lane, faults in lanes.items():
                pause = self._scale.fault_pause * (1 if lane in FREQUENT_LANES else RARE_FACTOR)
                group.create_task(FaultInjector(target, self._seed, lane).run(faults, pause))
            await asyncio.sleep(seconds)
            self._stop.set()
        await FaultInjector(target, self._seed, "rest").in_service()

    def _keep(self, history: History, outcome: Outcome, schedule: list[str]) -> None:
        """Write the verdict, the faults and the history into the folder with the data and logs."""
        (self._folder / "verdict").write_text("\n".join([str(outcome), *outcome.findings]) + "\n")
        (self._folder / "faults").write_text("\n".join(schedule) + "\n")
        (self._folder / "history").write_text(history.as_text())

    async def _open_rooms(self, users: Population) -> None:
        users.rooms = {f"room{number}": f"observer{number}" for number in range(self._scale.rooms)}
        await asyncio.gather(
            *(users.command(observer, room, "#create") for room, observer in users.rooms.items())
        )

    def _start_users(self, group: asyncio.TaskGroup, users: Population) -> None:
        members = self._members()
        names = (f"u{number}" for number in range(1 + sum(map(len, members.values())), 1_000_000))
        for room, talkers in members.items():
            for talker in talkers:
                group.create_task(self._talk(users, talker, room))
            for _ in range(self._scale.wanderers):
                group.create_task(self._wander(users, next(names), room))

    def _members(self) -> dict[str, list[str]]:
        """Those who talk in each room all the time."""
        each = self._scale.talkers
        return {
            f"room{number}": [f"u{number * each + n + 1}" for n in range(each)]
            for number in range(self._scale.rooms)
        }

    async def _talk(self, users: Population, name: str, room: str) -> None:
        await users.command(name, room, "#join")
        number = 0
        while not self._stop.is_set():
            if name not in users.quiet:
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

    async def _wait_until_idle(self) -> int:
        """Wait until all streams are empty; returns the number of entries left after IDLE_SECONDS."""
        until = time.monotonic() + IDLE_SECONDS
        looks = 0  # an entry may pass from one stream to another while they are counted
        left = 0
        while looks < 3 and time.monotonic() < until:
            left = await asyncio.to_thread(backlog, self._redis, WAITING)
            looks = 0 if left else looks + 1
            await asyncio.sleep(0.2)
        return left

    async def _wait_until_all_are_back(self) -> list[str]:
        """Wait until nobody is away; returns who still is after AWAY_SECONDS."""
        until = time.monotonic() + AWAY_SECONDS
        while away := await asyncio.to_thread(still_away, self._redis):
            if time.monotonic() > until:
                break
            await asyncio.sleep(0.5)
        await self._wait_until_idle()
        return away


async def play(
    kind: type[Single], seconds: float, seed: int, lanes: Lanes, scale: Scale | None = None
) -> Outcome:
    """A whole run in a new folder, which is kept if anything was wrong or the run was interrupted."""
    folder = Path(tempfile.mkdtemp(prefix="imc-chaos-"))
    outcome = await Run(kind, seed, scale or Scale(), folder).play(seconds, lanes)
    if outcome.ok:
        shutil.rmtree(folder)
        return outcome
    return replace(outcome, folder=folder)
