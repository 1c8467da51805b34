"""A service of two edges and two workers on one Redis, users who talk all the time, and one fault."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.chaos.history import Verdict
from tests.chaos.plant import Plant, Single, backlog, free_port, redis_cli
from tests.chaos.users import Population

ROOMS = {"room0": "anchor0", "room1": "anchor1"}
TALKERS = 8


class Case:
    """Two edges, two workers, one Redis, and users who talk all the time."""

    def __init__(self, redis: Single, plant: Plant, users: Population) -> None:
        self.redis = redis
        self.plant = plant
        self.users = users
        self.silence = asyncio.Event()

    async def talk(self, user: str, room: str) -> None:
        await self.users.command(user, room, "#join")
        number = 0
        while not self.silence.is_set():
            number += 1
            await self.users.say(user, room, f"{user}.{number}")
            await asyncio.sleep(0.05)

    async def cli(self, *words: str) -> str:
        return await asyncio.to_thread(redis_cli, self.redis.primaries()[0], *words)

    async def until_said(self, number: int) -> None:
        """Waits until so many more messages were accepted."""
        first = self.accepted
        async with asyncio.timeout(90):
            while self.accepted < first + number:
                await asyncio.sleep(0.05)

    @property
    def accepted(self) -> int:
        return sum(sent.accepted for sent in self.users.history.sent)


async def verdict_on(folder: Path, redis: Single, fault: Callable[[Case], Awaitable[None]]) -> Verdict:
    """Users talk, the fault comes and goes, they talk on, all comes to rest; the judge's word."""
    proxy_port = free_port()
    plant = Plant(redis, folder, edges=2, workers=2, proxy_port=proxy_port)
    users = await Population.open(plant.edge_ports, proxy_port)
    try:
        await asyncio.to_thread(plant.start)
        await asyncio.gather(*(users.command(anchor, room, "#create") for room, anchor in ROOMS.items()))
        case = Case(redis, plant, users)
        async with asyncio.TaskGroup() as group:
            for number in range(TALKERS):
                group.create_task(case.talk(f"u{number + 1}", f"room{number % 2}"))
            await case.until_said(30)
            await fault(case)
            await case.until_said(30)
            case.silence.set()
        async with asyncio.timeout(90):
            while await asyncio.to_thread(backlog, redis):
                await asyncio.sleep(0.2)
        await asyncio.sleep(0.3)
        assert not users.problems
        return users.history.judge(ROOMS)
    finally:
        users.close()
        await asyncio.to_thread(plant.stop)


async def nothing_gets_in(case: Case) -> None:
    """Waits until senders have had nothing but refusals for a second."""
    async with asyncio.timeout(30):
        before = -1
        while before != case.accepted:
            before = case.accepted
            await asyncio.sleep(1.0)


def memory_kb(plant: Plant) -> int:
    """Resident memory of all edges and workers."""
    total = 0
    for process in plant.edges + plant.workers:
        assert process.child is not None
        status = Path(f"/proc/{process.child.pid}/status").read_text()
        total += int(status.partition("VmRSS:")[2].split()[0])
    return total


def open_files(plant: Plant) -> int:
    """Open files and sockets of all edges and workers."""
    children = [process.child for process in plant.edges + plant.workers]
    return sum(len(list(Path(f"/proc/{child.pid}/fd").iterdir())) for child in children if child)
