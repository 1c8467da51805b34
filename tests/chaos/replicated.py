"""A primary and a replica with slow replication, behind one address that moves at a failover."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.chaos.relay import Relay
from tests.chaos.servers import Single, is_up, redis_cli, redis_server
from tests.ports import free_port
from tests.processes import wait_until


class Replicated(Single):
    """Clients reach the primary through `client_link`, the replica through `replication_link`.

    The test carries out failovers itself.
    """

    kind = "replicated"
    replicas = True

    def __init__(self, folder: Path, durability: str) -> None:
        self.durability = durability
        self.primary, self.replica = free_port(), free_port()
        self.servers = {
            port: redis_server(folder, f"redis-{port}", port) for port in (self.primary, self.replica)
        }
        self.client_link, self.replication_link = Relay(self.primary), Relay(self.primary)

    async def open(self, delay: float) -> None:
        """Start both servers in sync, then delay replication by so many seconds."""
        await asyncio.gather(self.client_link.start(), self.replication_link.start())
        self.url = f"redis://127.0.0.1:{self.client_link.port}/0"
        await asyncio.to_thread(super().start)
        await asyncio.to_thread(
            redis_cli, self.replica, "REPLICAOF", "127.0.0.1", str(self.replication_link.port)
        )
        await asyncio.to_thread(self._in_sync)
        self.replication_link.delay = delay

    def start(self) -> None:
        """`open` has started the servers."""

    def primaries(self) -> list[int]:
        return [self.primary]

    def promote(self) -> None:
        """Make the replica the primary, with the data that it has."""
        redis_cli(self.replica, "REPLICAOF", "NO", "ONE")
        self.primary, self.replica = self.replica, self.primary

    def demote(self) -> None:
        """Make the former primary a replica; it loses data that only it had."""
        if not self.servers[self.replica].alive:
            self.servers[self.replica].start()
            wait_until(lambda: is_up(self.replica), "the former primary's return")
        redis_cli(self.replica, "REPLICAOF", "127.0.0.1", str(self.primary))
        self._in_sync()

    async def fail_over(self) -> None:
        """Promote the replica, move the clients' address, and bring the former primary back as a replica."""
        await asyncio.to_thread(self.promote)
        self.client_link.point_at(self.primary)
        self.replication_link.resume()
        await asyncio.to_thread(self.demote)

    def _in_sync(self) -> None:
        wait_until(
            lambda: "master_link_status:up" in redis_cli(self.replica, "INFO", "replication"),
            "the replica is in sync",
        )


@asynccontextmanager
async def replicated(folder: Path, durability: str, delay: float) -> AsyncIterator[Replicated]:
    """Both servers, running until the end of the block."""
    redis = Replicated(folder, durability)
    try:
        await redis.open(delay)
        yield redis
    finally:
        await redis.client_link.stop()
        await redis.replication_link.stop()
        await asyncio.to_thread(redis.stop)
