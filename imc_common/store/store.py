"""The one way to Redis that edges and workers share."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any, Protocol

from imc_common.scripts import Scripts
from imc_common.settings import Settings
from imc_common.store import checks
from imc_common.store.cluster import Cluster
from imc_common.store.dial import Dialer
from imc_common.store.errors import NotDurable, ReplyError, StoreUnreachable, reached
from imc_common.store.link import REPLY_SECONDS, Link, Pace
from imc_common.store.pipe import Command
from imc_common.store.read import read_command
from imc_common.store.url import parse_url

Entry = tuple[bytes, list[bytes]]
"""An entry's id and its fields, flat."""

WAIT_MS = 1000
"""How long a request may wait for disks or replicas: a client's first retransmissions pass meanwhile."""


class Route(Protocol):
    """Where pipelines and reads go: one server, or the nodes of a cluster."""

    async def run(self, commands: Sequence[Command], tail: Command | None = None) -> list[Any]: ...

    async def each(self, commands: Sequence[Command]) -> list[list[Any]]: ...

    async def read_new(
        self, group: str, streams: Sequence[str], count: int, block_ms: int | None
    ) -> list[Any]: ...

    async def close(self) -> None: ...


class Store:
    """Pipelines and stream reads on the Redis of `db_url`, over connections that mend themselves."""

    def __init__(self, route: Route, scripts: Scripts, settings: Settings) -> None:
        self.scripts = scripts
        self.secret = b""
        self._route = route
        self._wait = _wait_command(settings)

    @classmethod
    async def connect(cls, settings: Settings, *, check: bool = True) -> Store:
        """A store on a Redis that is fit for it; `check=False` for tools that repair one that is not.

        Raises StoreUnreachable, StoreRefused, UrlError.
        """
        target = parse_url(settings.db_url)
        scripts = Scripts()
        dialer = Dialer(target, f"imc-{os.getpid()}")
        route: _Single | Cluster
        if target.kind == "cluster":
            route = Cluster(dialer, target.hosts, scripts, WAIT_MS / 1000)
        else:
            route = _Single(dialer, scripts, durable=settings.durability != "memory")
        store = cls(route, scripts, settings)
        try:
            checks.check_version(await route.open())
            if check:
                await checks.check_policy(store.each)
                await checks.check_durability(store.each, settings)
                await checks.check_layout_at_rest(store.run)
                store.secret = await checks.check_config(store.run, settings.hash_size)
        except BaseException:
            await store.close()
            raise
        return store

    def script(self, name: str, keys: Sequence[str], args: Sequence[str | bytes | int]) -> Command:
        """The command that runs a script of `lua/`."""
        return self.scripts.command(name, keys, args)

    async def run(self, commands: Sequence[Command], *, durable: bool = False) -> list[Any]:
        """Run the commands in order, in one round trip, and give their replies, undecoded.

        A command that Redis refuses has a `ReplyError` in its place; the others run all the same. `durable`
        returns only when what was written is as safe as the setting `durability` asks for, and raises
        NotDurable otherwise. Raises StoreUnreachable: then any of the commands may have run, and running
        them again has to be harmless.
        """
        if not commands:
            return []
        if not durable or self._wait is None:
            return await self._route.run(commands)
        *replies, waited = await self._route.run(commands, self._wait)
        if reached(waited) < int(self._wait[1]):
            raise NotDurable(f"written, but {self._wait[0]!s} says {waited!r}")
        return replies

    async def each(self, commands: Sequence[Command]) -> list[list[Any]]:
        """Run the commands, which have no keys, on every primary there is. Raises StoreUnreachable."""
        return await self._route.each(commands)

    async def read_new(
        self, group: str, streams: Sequence[str], count: int, block_ms: int | None
    ) -> list[tuple[str, list[Entry] | None]]:
        """What the group was not handed yet of each stream: `count` entries at most, in `block_ms` at most.

        Streams without such entries are left out. Raises StoreUnreachable, or has None for a stream's
        entries: then some may have been handed out that nobody saw. Raises ReplyError, as NOGROUP.
        """
        if not streams:
            await asyncio.sleep((block_ms or 0) / 1000)
            return []
        reply = await self._route.read_new(group, streams, count, block_ms)
        return [
            (key.decode(), None if entries is None else [(i, f) for i, f in entries])
            for key, entries in reply
        ]

    async def close(self) -> None:
        """Close all connections; what is in the air fails with StoreUnreachable."""
        await self._route.close()
        await asyncio.sleep(0)  # sockets close in the loop's next round


class _Single:
    """One server: a connection for pipelines, one for reads that block, one for pipelines that wait."""

    def __init__(self, dialer: Dialer, scripts: Scripts, *, durable: bool) -> None:
        pace = Pace()
        self._main = Link(dialer.primary, pace, scripts)
        self._reader = Link(dialer.primary, pace, scripts)
        # apart, because WAIT holds up everything behind it on its connection
        self._durable = Link(dialer.primary, pace, scripts) if durable else None

    async def open(self) -> Any:
        hello = await self._main.open()
        if self._durable is not None:
            await self._durable.open()
        return hello

    async def run(self, commands: Sequence[Command], tail: Command | None = None) -> list[Any]:
        if tail is None or self._durable is None:
            return await self._main.run(commands)
        return await self._durable.run(commands, REPLY_SECONDS + WAIT_MS / 1000, tail)

    async def each(self, commands: Sequence[Command]) -> list[list[Any]]:
        return [await self._main.run(commands)]

    async def read_new(
        self, group: str, streams: Sequence[str], count: int, block_ms: int | None
    ) -> list[Any]:
        command = read_command(group, streams, count, block_ms)
        if not self._reader.opened:  # not before: tools never read
            await self._reader.open()
        (reply,) = await self._reader.run([command], REPLY_SECONDS + (block_ms or 0) / 1000)
        if isinstance(reply, ReplyError):
            if reply.transient:
                raise StoreUnreachable(f"cannot read: {reply}")
            raise reply
        return reply or []

    async def close(self) -> None:
        for link in (self._main, self._reader, self._durable):
            if link is not None:
                await link.close()


def _wait_command(settings: Settings) -> Command | None:
    if settings.durability == "fsync":
        return ("WAITAOF", 1, 0, WAIT_MS)
    if settings.durability == "replicas":
        return ("WAIT", settings.wait_replicas, WAIT_MS)
    return None
