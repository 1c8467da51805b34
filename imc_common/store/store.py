"""The connection to Redis that edges, workers and tools share."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from imc_common.scripts import Command, Scripts
from imc_common.settings import Settings
from imc_common.store import startup_checks
from imc_common.store.cluster import Cluster
from imc_common.store.connector import Connector, Opened
from imc_common.store.errors import NotDurable, ReplyError, StoreUnreachable, reached
from imc_common.store.reconnecting import REPLY_SECONDS, ReconnectingConnection, ReconnectPace
from imc_common.store.subscription import Subscription
from imc_common.store.url import parse_url
from imc_common.store.xreadgroup import xreadgroup_command

Entry = tuple[bytes, list[bytes]]
"""The id of a stream entry, and its fields: name, value, name, value, …"""

WAIT_MS = 1000
"""How long a request may wait for disks or replicas; a client retransmits once meanwhile (RFC 3261 T1)."""


class Backend(Protocol):
    """What runs pipelines and reads: one server, or the nodes of a cluster."""

    async def run(self, commands: Sequence[Command], tail: Command | None = None) -> list[Any]: ...

    async def run_on_primaries(self, commands: Sequence[Command]) -> list[list[Any]]: ...

    async def read_new(
        self, group: str, streams: Sequence[str], count: int, block_ms: int | None
    ) -> list[Any]: ...

    async def connect(self) -> Opened: ...

    async def close(self) -> None: ...


class Store:
    """Runs pipelines and reads streams on the Redis of `db_url`. Lost connections are opened again."""

    def __init__(self, backend: Backend, scripts: Scripts, settings: Settings) -> None:
        self.scripts = scripts
        self.secret = b""
        self._backend = backend
        self._wait = _wait_command(settings)

    @classmethod
    async def connect(cls, settings: Settings, *, check: bool = True) -> Store:
        """A store on a Redis that passed all startup checks; `check=False` for tools that repair one.

        Raises StoreUnreachable, StoreRefused, UrlError.
        """
        url = parse_url(settings.db_url)
        scripts = Scripts()
        connector = Connector(url, f"imc-{os.getpid()}")
        backend: _Single | Cluster
        if url.kind == "cluster":
            backend = Cluster(connector, url.hosts, scripts, WAIT_MS / 1000)
        else:
            backend = _Single(connector, scripts, durable=settings.durability != "memory")
        store = cls(backend, scripts, settings)
        try:
            startup_checks.check_version(await backend.open())
            if check:
                await startup_checks.check_policy(store.run_on_primaries)
                await startup_checks.check_durability(store.run_on_primaries, settings)
                await startup_checks.check_layout_at_rest(store.run)
                store.secret = await startup_checks.check_config(store.run, settings.hash_size)
        except BaseException:
            await store.close()
            raise
        return store

    def script(self, name: str, keys: Sequence[str], args: Sequence[str | bytes | int]) -> Command:
        """The command that runs a script of `lua/`."""
        return self.scripts.command(name, keys, args)

    async def run(self, commands: Sequence[Command], *, durable: bool = False) -> list[Any]:
        """Run the commands in order, in one round trip. Returns their replies, undecoded.

        The reply to a refused command is a `ReplyError`; the other commands run. With `durable`, returns only
        when all writes are as safe as the setting `durability` requires; otherwise raises NotDurable. Raises
        StoreUnreachable: any of the commands may have run then, so it must be safe to run them again.
        """
        if not commands:
            return []
        if not durable or self._wait is None:
            return await self._backend.run(commands)
        *replies, waited = await self._backend.run(commands, self._wait)
        if reached(waited) < int(self._wait[1]):
            raise NotDurable(f"written, but {self._wait[0]!s} replied {waited!r}")
        return replies

    async def run_on_primaries(self, commands: Sequence[Command]) -> list[list[Any]]:
        """Run commands without keys on every primary; their replies by primary. Raises StoreUnreachable."""
        return await self._backend.run_on_primaries(commands)

    async def read_new(
        self, group: str, streams: Sequence[str], count: int, block_ms: int | None
    ) -> list[tuple[str, list[Entry] | None]]:
        """The next entries of each stream for this group, at most `count`; waits up to `block_ms` for some.

        Streams without new entries are left out. Raises StoreUnreachable, or has None for the entries of one
        stream: then Redis may have handed out entries that were not received. Raises ReplyError (NOGROUP).
        """
        if not streams:
            await asyncio.sleep((block_ms or 0) / 1000)
            return []
        reply = await self._backend.read_new(group, streams, count, block_ms)
        return [
            (key.decode(), None if entries is None else [(i, f) for i, f in entries])
            for key, entries in reply
        ]

    def subscription(self, channel: str, on_message: Callable[[bytes], None]) -> Subscription:
        """Calls ``on_message`` with each message of the channel while its `run` runs; some may be lost."""
        return Subscription(self._backend.connect, channel, on_message)

    async def close(self) -> None:
        """Close all connections. Pipelines in flight fail with StoreUnreachable."""
        await self._backend.close()
        await asyncio.sleep(0)  # sockets close in the next iteration of the event loop


class _Single:
    """One server: a connection for pipelines, one for blocking reads, one for pipelines with WAIT."""

    def __init__(self, connector: Connector, scripts: Scripts, *, durable: bool) -> None:
        self.connect = connector.primary
        pace = ReconnectPace()
        self._main = ReconnectingConnection(connector.primary, pace, scripts)
        self._reader = ReconnectingConnection(connector.primary, pace, scripts)
        # separate, because WAIT delays all later commands on its connection
        self._durable = ReconnectingConnection(connector.primary, pace, scripts) if durable else None

    async def open(self) -> Any:
        hello = await self._main.open()
        if self._durable is not None:
            await self._durable.open()
        return hello

    async def run(self, commands: Sequence[Command], tail: Command | None = None) -> list[Any]:
        if tail is None or self._durable is None:
            return await self._main.run(commands)
        return await self._durable.run(commands, REPLY_SECONDS + WAIT_MS / 1000, tail)

    async def run_on_primaries(self, commands: Sequence[Command]) -> list[list[Any]]:
        return [await self._main.run(commands)]

    async def read_new(
        self, group: str, streams: Sequence[str], count: int, block_ms: int | None
    ) -> list[Any]:
        command = xreadgroup_command(group, streams, count, block_ms)
        if not self._reader.opened:  # opened at first use: tools never read streams
            await self._reader.open()
        (reply,) = await self._reader.run([command], REPLY_SECONDS + (block_ms or 0) / 1000)
        if isinstance(reply, ReplyError):
            if reply.transient:
                raise StoreUnreachable(f"cannot read: {reply}")
            raise reply
        return reply or []

    async def close(self) -> None:
        for connection in (self._main, self._reader, self._durable):
            if connection is not None:
                await connection.close()


def _wait_command(settings: Settings) -> Command | None:
    if settings.durability == "fsync":
        return ("WAITAOF", 1, 0, WAIT_MS)
    if settings.durability == "replicas":
        return ("WAIT", settings.wait_replicas, WAIT_MS)
    return None
