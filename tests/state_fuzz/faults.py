"""A backend of `Store` on a real server, which fails on demand: the server refuses, or replies get lost.

A fault begins with one of the next operations and lasts for some. An operation is a pipeline or a read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import redis

from imc_common.scripts import Command, Scripts
from imc_common.store import StoreUnreachable
from imc_common.store.connector import Connector
from imc_common.store.reconnecting import ReconnectingConnection, ReconnectPace
from imc_common.store.url import parse_url
from imc_common.store.xreadgroup import xreadgroup_command

Kind = Literal[
    "full",  # OOM: the server refuses what needs memory
    "replica",  # READONLY: the server has become the replica of another
    "no_replicas",  # NOREPLICAS: the server refuses writes, because too few replicas are connected
    "scripts_lost",  # NOSCRIPT: the server was restarted
    "unreachable",  # nothing arrives at the server
    "replies_lost",  # all commands run, and no reply arrives
    "half_lost",  # the first half of the commands run, then the connection ends
]


@dataclass
class Fault:
    """`after` further operations without it come first, then so many that it `lasts`."""

    kind: Kind
    after: int
    lasts: int


class FaultyBackend:
    """One server, as `imc_common.store.store` uses it. Lost connections are opened again at once."""

    def __init__(self, url: str, scripts: Scripts, control: redis.Redis) -> None:
        """``control``: a client that no fault concerns."""
        self._connector = Connector(parse_url(url), "state-fuzz")
        self._scripts = scripts
        self._control = control
        self._connection: ReconnectingConnection | None = None
        self._fault: Fault | None = None
        self._is_on = False

    def arm(self, fault: Fault) -> None:
        """This fault comes next; one that has not ended is over."""
        self.heal()
        self._fault = fault

    def heal(self) -> None:
        """No fault any more."""
        if self._is_on:
            self._undo()
        self._fault, self._is_on = None, False

    async def run(self, commands: Sequence[Command], tail: Command | None = None) -> list[Any]:
        """Run a pipeline. Raises StoreUnreachable."""
        kind = self._next()
        if kind == "unreachable":
            raise StoreUnreachable("no connection")
        connection = await self._connected()
        if kind == "half_lost":
            commands = commands[: (len(commands) + 1) // 2]
        replies = await connection.run(commands, tail=tail)
        if kind in {"replies_lost", "half_lost"}:
            raise StoreUnreachable("the connection ended before the replies")
        return replies

    async def run_on_primaries(self, commands: Sequence[Command]) -> list[list[Any]]:
        """As `run`, on the one server."""
        return [await self.run(commands)]

    async def read_new(
        self, group: str, streams: Sequence[str], count: int, block_ms: int | None
    ) -> list[Any]:
        """Read streams, as `_Single.read_new`, but without waiting: Redis ends a wait up to 100 ms late."""
        (reply,) = await self.run([xreadgroup_command(group, streams, count, None)])
        if isinstance(reply, Exception):
            if getattr(reply, "transient", False):
                raise StoreUnreachable(f"cannot read: {reply}")
            raise reply
        return reply or []

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def _connected(self) -> ReconnectingConnection:
        if self._connection is None or self._connection._connection is None:
            await self.close()
            opened = ReconnectingConnection(self._connector.primary, ReconnectPace(), self._scripts)
            await opened.open()
            self._connection = opened
        return self._connection

    def _next(self) -> Kind | None:
        """The fault of the next operation; begins or ends it at the server if it is time."""
        fault = self._fault
        if fault is None:
            return None
        if fault.after:
            fault.after -= 1
            return None
        if not fault.lasts:
            self.heal()
            return None
        fault.lasts -= 1
        if not self._is_on:
            self._is_on = True
            self._begin(fault.kind)
        return fault.kind

    def _begin(self, kind: Kind) -> None:
        if kind == "full":
            self._control.config_set("maxmemory", 1)
        elif kind == "replica":
            self._control.replicaof("127.0.0.1", "1")
        elif kind == "no_replicas":
            self._control.config_set("min-replicas-to-write", 1)
        elif kind == "scripts_lost":
            self._control.script_flush()

    def _undo(self) -> None:
        self._control.config_set("maxmemory", 0)
        self._control.config_set("min-replicas-to-write", 0)
        self._control.replicaof("NO", "ONE")
