"""A service of edges and workers on a Redis, users who talk all the time, and one fault."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from tests.chaos.history import Verdict
from tests.chaos.plant import Plant, wait_until
from tests.chaos.servers import Single, redis_cli
from tests.chaos.streams import backlog
from tests.chaos.users import Population
from tests.integration.service import options
from tests.ports import free_port


class Case:
    """The service and its users, as a test speaks of them."""

    def __init__(self, plant: Plant, users: Population) -> None:
        self.redis = plant.redis
        self.plant = plant
        self.users = users
        self.silence = asyncio.Event()

    async def open_rooms(self, number: int) -> None:
        """So many rooms that are judged, each with its anchor."""
        self.users.rooms = {f"room{n}": f"anchor{n}" for n in range(number)}
        commands = (self.users.command(anchor, room, "#create") for room, anchor in self.users.rooms.items())
        await asyncio.gather(*commands)

    async def talk(self, user: str, room: str, pause: float = 0.05) -> None:
        """Until there has to be silence."""
        await self.users.command(user, room, "#join")
        number = 0
        while not self.silence.is_set():
            number += 1
            await self.users.say(user, room, f"{user}.{number}")
            await asyncio.sleep(pause)

    @asynccontextmanager
    async def talking(self, talkers: int, pause: float = 0.05) -> AsyncIterator[None]:
        """So many users in all rooms talk for the length of the block."""
        rooms = list(self.users.rooms)
        async with asyncio.TaskGroup() as group:
            for number in range(talkers):
                group.create_task(self.talk(f"u{number + 1}", rooms[number % len(rooms)], pause))
            yield
            self.silence.set()

    async def until_said(self, number: int) -> None:
        """Waits until so many more messages were accepted."""
        first = self.accepted
        async with asyncio.timeout(180):
            while self.accepted < first + number:
                await asyncio.sleep(0.02)

    @property
    def accepted(self) -> int:
        return sum(sent.accepted for sent in self.users.history.sent)

    async def come_to_rest(self, seconds: float = 120) -> None:
        """Waits until all streams are empty."""
        async with asyncio.timeout(seconds):
            while await asyncio.to_thread(backlog, self.redis):
                await asyncio.sleep(0.2)
        await asyncio.sleep(0.3)

    def verdict(self) -> Verdict:
        """The judge's word on all rooms."""
        assert not self.users.problems
        return self.users.history.judge(self.users.rooms)

    async def cli(self, *words: str) -> str:
        return await asyncio.to_thread(redis_cli, self.redis.primaries()[0], *words)

    def freeze_workers(self) -> None:
        """From now on what is accepted waits in Redis: a backlog, as any burst makes it."""
        for worker in self.plant.workers:
            worker.send(signal.SIGSTOP)

    def wake_workers(self) -> None:
        for worker in self.plant.workers:
            worker.send(signal.SIGCONT)


@asynccontextmanager
async def service(
    folder: Path, redis: Single, edges: int = 2, workers: int = 2, **settings: str
) -> AsyncIterator[Case]:
    """All of it for the length of the block; ``settings`` as environment variables."""
    proxy_port = free_port()
    plant = Plant(redis, folder, edges, workers, proxy_port, **settings)
    users = await Population.open(plant.edge_ports, proxy_port)
    try:
        await asyncio.to_thread(plant.start)
        yield Case(plant, users)
    finally:
        users.close()
        await asyncio.to_thread(plant.stop)


async def verdict_on(
    folder: Path, redis: Single, fault: Callable[[Case], Awaitable[None]], talkers: int = 8, rooms: int = 2
) -> Verdict:
    """Users talk, the fault comes and goes, they talk on, all comes to rest; the judge's word."""
    async with service(folder, redis) as case:
        await case.open_rooms(rooms)
        async with case.talking(talkers):
            await case.until_said(30)
            await fault(case)
            await case.until_said(30)
        await case.come_to_rest()
        return case.verdict()


async def refuses(case: Case) -> None:
    """OPTIONS and MESSAGE are both answered 503, the latter with a time to come back."""
    for port in case.plant.edge_ports:
        await asyncio.to_thread(wait_until, lambda port=port: options(port) == 503, "OPTIONS refused")
        assert await case.users.retry_after(port) > 0


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
