"""Tests of single faults: a service, users who talk all the time, and one fault."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from tests.chaos.deployment import Deployment
from tests.chaos.history import Verdict
from tests.chaos.servers import Single, redis_cli
from tests.chaos.streams import backlog
from tests.chaos.users import Population
from tests.integration.service import options
from tests.ports import free_port
from tests.processes import wait_until


class Scenario:
    """A running service and its users."""

    def __init__(self, deployment: Deployment, users: Population) -> None:
        self.redis = deployment.redis
        self.deployment = deployment
        self.users = users
        self.stop_talking = asyncio.Event()

    async def open_rooms(self, number: int) -> None:
        """Create so many rooms that are checked, each with its observer."""
        self.users.rooms = {f"room{n}": f"observer{n}" for n in range(number)}
        commands = (
            self.users.command(observer, room, "#create") for room, observer in self.users.rooms.items()
        )
        await asyncio.gather(*commands)

    async def talk(self, user: str, room: str, pause: float = 0.05) -> None:
        """Join the room and send messages until `stop_talking` is set."""
        await self.users.command(user, room, "#join")
        number = 0
        while not self.stop_talking.is_set():
            number += 1
            await self.users.say(user, room, f"{user}.{number}")
            await asyncio.sleep(pause)

    @asynccontextmanager
    async def talking(self, talkers: int, pause: float = 0.05) -> AsyncIterator[None]:
        """So many users, spread over all rooms, talk until the end of the block."""
        rooms = list(self.users.rooms)
        async with asyncio.TaskGroup() as group:
            for number in range(talkers):
                group.create_task(self.talk(f"u{number + 1}", rooms[number % len(rooms)], pause))
            yield
            self.stop_talking.set()

    async def wait_for_accepted(self, number: int) -> None:
        """Wait until so many more messages were accepted."""
        first = self.accepted
        async with asyncio.timeout(180):
            while self.accepted < first + number:
                await asyncio.sleep(0.02)

    @property
    def accepted(self) -> int:
        return sum(sent.accepted for sent in self.users.history.sent)

    async def wait_until_idle(self, seconds: float = 120) -> None:
        """Wait until all streams are empty."""
        async with asyncio.timeout(seconds):
            while await asyncio.to_thread(backlog, self.redis):
                await asyncio.sleep(0.2)
        await asyncio.sleep(0.3)

    def verdict(self) -> Verdict:
        """The checker's result for all rooms."""
        assert not self.users.problems
        return self.users.history.check(self.users.rooms)

    async def cli(self, *words: str) -> str:
        return await asyncio.to_thread(redis_cli, self.redis.primaries()[0], *words)

    def suspend_workers(self) -> None:
        """Suspend all workers, so that accepted requests wait in Redis."""
        for worker in self.deployment.workers:
            worker.send(signal.SIGSTOP)

    def resume_workers(self) -> None:
        for worker in self.deployment.workers:
            worker.send(signal.SIGCONT)


@asynccontextmanager
async def service(
    folder: Path, redis: Single, edges: int = 2, workers: int = 2, **settings: str
) -> AsyncIterator[Scenario]:
    """A service with users that runs until the end of the block; ``settings`` are environment variables."""
    proxy_port = free_port()
    deployment = Deployment(redis, folder, edges, workers, proxy_port, **settings)
    users = await Population.open(deployment.edge_ports, proxy_port)
    try:
        await asyncio.to_thread(deployment.start)
        yield Scenario(deployment, users)
    finally:
        users.close()
        await asyncio.to_thread(deployment.stop)


async def run_with_fault(
    folder: Path,
    redis: Single,
    fault: Callable[[Scenario], Awaitable[None]],
    talkers: int = 8,
    rooms: int = 2,
) -> Verdict:
    """Users talk before, during and after the fault; returns the verdict when all streams are empty."""
    async with service(folder, redis) as scenario:
        await scenario.open_rooms(rooms)
        async with scenario.talking(talkers):
            await scenario.wait_for_accepted(30)
            await fault(scenario)
            await scenario.wait_for_accepted(30)
        await scenario.wait_until_idle()
        return scenario.verdict()


async def assert_all_edges_refuse(scenario: Scenario) -> None:
    """Wait until all edges respond with 503 to OPTIONS, and to MESSAGE with Retry-After."""
    for port in scenario.deployment.edge_ports:
        await asyncio.to_thread(wait_until, lambda port=port: options(port) == 503, "503 to OPTIONS")
        assert await scenario.users.retry_after(port) > 0


async def wait_until_nothing_is_accepted(scenario: Scenario) -> None:
    """Wait until no message was accepted for a second."""
    async with asyncio.timeout(30):
        before = -1
        while before != scenario.accepted:
            before = scenario.accepted
            await asyncio.sleep(1.0)


def memory_kb(deployment: Deployment) -> int:
    """Resident memory of all edges and workers, in kilobytes."""
    total = 0
    for process in deployment.edges + deployment.workers:
        assert process.child is not None
        status = Path(f"/proc/{process.child.pid}/status").read_text()
        total += int(status.partition("VmRSS:")[2].split()[0])
    return total


def open_files(deployment: Deployment) -> int:
    """The number of open files and sockets of all edges and workers."""
    children = [process.child for process in deployment.edges + deployment.workers]
    return sum(len(list(Path(f"/proc/{child.pid}/fd").iterdir())) for child in children if child)
