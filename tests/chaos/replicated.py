"""A primary and a replica with a slow line between them, behind one address that moves at a failover."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.chaos.plant import wait_until
from tests.chaos.relay import Relay
from tests.chaos.servers import Single, answers, redis_cli, redis_server
from tests.ports import free_port


class Replicated(Single):
    """Processes reach the primary by `front`; the replica reaches it by `line`. Failovers are the test's."""

    kind = "replicated"
    replicas = True

    def __init__(self, folder: Path, durability: str) -> None:
        self.durability = durability
        self.primary, self.replica = free_port(), free_port()
        self.servers = {
            port: redis_server(folder, f"redis-{port}", port) for port in (self.primary, self.replica)
        }
        self.front, self.line = Relay(self.primary), Relay(self.primary)

    async def open(self, delay: float) -> None:
        """Both servers, in step, with so many seconds of way between them."""
        await asyncio.gather(self.front.start(), self.line.start())
        self.url = f"redis://127.0.0.1:{self.front.port}/0"
        await asyncio.to_thread(super().start)
        await asyncio.to_thread(redis_cli, self.replica, "REPLICAOF", "127.0.0.1", str(self.line.port))
        await asyncio.to_thread(self._in_step)
        self.line.delay = delay

    def start(self) -> None:
        """It is open already."""

    def primaries(self) -> list[int]:
        return [self.primary]

    def promote(self) -> None:
        """The replica becomes the primary with what it has, and the address moves to it."""
        redis_cli(self.replica, "REPLICAOF", "NO", "ONE")
        self.primary, self.replica = self.replica, self.primary

    def demote(self) -> None:
        """The former primary comes back as a replica: what only it had is gone."""
        if not self.servers[self.replica].alive:
            self.servers[self.replica].start()
            wait_until(lambda: answers(self.replica), "the former primary's return")
        redis_cli(self.replica, "REPLICAOF", "127.0.0.1", str(self.primary))
        self._in_step()

    async def fail_over(self) -> None:
        """Promote, move the address, and bring the other server back as a replica."""
        await asyncio.to_thread(self.promote)
        self.front.point_at(self.primary)
        self.line.heal()
        await asyncio.to_thread(self.demote)

    def _in_step(self) -> None:
        wait_until(
            lambda: "master_link_status:up" in redis_cli(self.replica, "INFO", "replication"),
            "a replica in step",
        )


@asynccontextmanager
async def replicated(folder: Path, durability: str, delay: float) -> AsyncIterator[Replicated]:
    """Both servers for the length of the block."""
    redis = Replicated(folder, durability)
    try:
        await redis.open(delay)
        yield redis
    finally:
        await redis.front.stop()
        await redis.line.stop()
        await asyncio.to_thread(redis.stop)
