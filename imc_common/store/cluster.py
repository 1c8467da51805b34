"""Redis Cluster: each command goes to the node of its slot, also while slots move and nodes fail.

An unreachable node does not stop the others: its commands get the error reply `CLUSTERDOWN`, which counts as
transient. XREADGROUP cannot block on streams of several slots, so streams are polled.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from imc_common.scripts import Command, Scripts
from imc_common.store.connector import Connector, Hello, Opened
from imc_common.store.errors import ReplyError, StoreUnreachable, reached
from imc_common.store.reconnecting import REPLY_SECONDS, ReconnectingConnection, ReconnectPace
from imc_common.store.slots import SLOTS, redirected_to, slot_of, slot_table
from imc_common.store.url import Host
from imc_common.store.xreadgroup import xreadgroup_command

log = structlog.get_logger()

REDIRECT_SECONDS = 2.0  # how long a command follows a moving slot
TRYAGAIN_SECONDS = 0.02
REFRESH_SECONDS = 0.5  # minimum time between two reads of the slot table
FIRST_POLL, LONGEST_POLL = 0.001, 0.010
POLL_PER_STREAM = 0.0002  # seconds; polling many idle shards takes no more CPU than polling few


@dataclass(slots=True)
class _Pipeline:
    """A pipeline that is spread over nodes."""

    commands: Sequence[Command]
    tail: Command | None
    replies: list[Any]
    tails: list[Any] = field(default_factory=list)
    """The reply of each node to `tail`."""
    asking: dict[int, Host] = field(default_factory=dict)
    """The node that ASK named, by the index of the command."""


class Cluster:
    """The nodes of one cluster, as one `Backend`."""

    def __init__(
        self, connector: Connector, seeds: Sequence[Host], scripts: Scripts, wait_seconds: float
    ) -> None:
        self._connector = connector
        self._seeds = tuple(seeds)
        self._scripts = scripts
        self._wait_seconds = wait_seconds
        self._table: list[Host | None] = [None] * SLOTS
        self._connections: dict[tuple[Host, bool], ReconnectingConnection] = {}
        """By node and by use: pipelines with a tail (WAIT) have a connection of their own."""
        self._refreshing: asyncio.Task[None] | None = None

    async def open(self) -> Hello:
        """Read the slot table from the first seed that replies. Raises StoreUnreachable, StoreRefused."""
        problems = []
        for seed in self._seeds:
            try:
                hello = await self._read_slots(seed)
            except StoreUnreachable as error:
                problems.append(str(error))
                continue
            await asyncio.gather(*(self._connected(host, False) for host in self._primaries()))
            return hello
        raise StoreUnreachable(f"no node of the cluster replies: {'; '.join(problems)}")

    async def run(self, commands: Sequence[Command], tail: Command | None = None) -> list[Any]:
        """See `Store.run`. With a tail, the last reply is the best of all nodes' replies to it.

        If a node's reply to the tail is not enough, the commands of this node have an error as reply.
        """
        pipeline = _Pipeline(commands, tail, [None] * len(commands))
        todo = list(range(len(commands)))
        deadline = asyncio.get_running_loop().time() + REDIRECT_SECONDS
        while todo:
            groups = self._group(pipeline, todo)
            await asyncio.gather(*(self._run_group(pipeline, *group) for group in groups.items()))
            todo = self._redirect(pipeline, todo)
            if asyncio.get_running_loop().time() > deadline:
                break
            if any(pipeline.replies[at].code == "TRYAGAIN" for at in todo):
                await asyncio.sleep(TRYAGAIN_SECONDS)
        self._note_failures(pipeline.replies)
        return (
            pipeline.replies
            if tail is None
            else [*pipeline.replies, max(pipeline.tails, key=reached, default=0)]
        )

    async def run_on_primaries(self, commands: Sequence[Command]) -> list[list[Any]]:
        """The replies of every primary. Raises StoreUnreachable."""
        connections = [await self._connected(host, False) for host in self._primaries()]
        return list(await asyncio.gather(*(connection.run(commands) for connection in connections)))

    async def read_new(
        self, group: str, streams: Sequence[str], count: int, block_ms: int | None
    ) -> list[Any]:
        """See `Store.read_new`. Polls, first at short intervals. A stream of an unreachable node has None."""
        commands = [xreadgroup_command(group, (stream,), count, None) for stream in streams]
        loop = asyncio.get_running_loop()
        until = loop.time() + (block_ms or 0) / 1000
        pause, longest = FIRST_POLL, max(LONGEST_POLL, POLL_PER_STREAM * len(streams))
        while True:
            replies = await self.run(commands)
            found = [_entries(stream, reply) for stream, reply in zip(streams, replies, strict=True) if reply]
            if found or loop.time() >= until:
                return found
            await asyncio.sleep(pause)
            pause = min(pause * 2, longest)

    async def connect(self) -> Opened:
        """A connection of the caller's own to any node, for what every node has: messages of channels.

        Raises StoreUnreachable, StoreRefused.
        """
        return await self._connector.node(random.choice(list(self._primaries()) or self._seeds))  # noqa: S311 # any

    async def close(self) -> None:
        """Close all connections."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)
        for connection in self._connections.values():
            await connection.close()

    def _group(self, pipeline: _Pipeline, todo: list[int]) -> dict[tuple[Host, bool], list[int]]:
        """Indexes of commands by node, in order. The flag: they were sent there by ASK and need ASKING."""
        groups: dict[tuple[Host, bool], list[int]] = {}
        anywhere = next((host for host in self._table if host is not None), self._seeds[0])
        for at in todo:
            if at in pipeline.asking:
                group = (pipeline.asking[at], True)
            else:
                slot = slot_of(pipeline.commands[at])
                group = ((self._table[slot] if slot is not None else None) or anywhere, False)
            groups.setdefault(group, []).append(at)
        return groups

    async def _run_group(self, pipeline: _Pipeline, group: tuple[Host, bool], indexes: list[int]) -> None:
        host, asking = group
        tail = pipeline.tail
        batch = [pipeline.commands[at] for at in indexes]
        if asking:
            batch = [part for command in batch for part in (("ASKING",), self._with_source(command))]
        try:
            connection = await self._connected(host, tail is not None)
            reply_seconds = REPLY_SECONDS + (self._wait_seconds if tail is not None else 0.0)
            replies = await connection.run(batch, reply_seconds, tail)
        except StoreUnreachable as error:
            replies = [ReplyError(f"CLUSTERDOWN {error}")] * (len(batch) + (tail is not None))
        if tail is not None:
            *replies, waited = replies
            pipeline.tails.append(waited)
            if reached(waited) < int(tail[1]):
                replies = [ReplyError(f"NOREPLICAS written, but {tail[0]!s} replied {waited}")] * len(batch)
        for at, reply in zip(indexes, replies[1::2] if asking else replies, strict=True):
            pipeline.replies[at] = reply

    def _with_source(self, command: Command) -> Command:
        """ASKING applies to the next command only, so a script must not be retried after NOSCRIPT."""
        if command[0] != "EVALSHA":
            return command
        return ("EVAL", self._scripts.source_of(str(command[1])), *command[2:])

    def _redirect(self, pipeline: _Pipeline, todo: list[int]) -> list[int]:
        """The indexes of the commands to send again. MOVED updates the slot table."""
        again = []
        for at in todo:
            reply = pipeline.replies[at]
            pipeline.asking.pop(at, None)
            if not isinstance(reply, ReplyError) or reply.code not in {"MOVED", "ASK", "TRYAGAIN"}:
                continue
            again.append(at)
            slot = slot_of(pipeline.commands[at])
            if slot is None or reply.code == "TRYAGAIN":
                continue
            host = redirected_to(str(reply), self._table[slot] or self._seeds[0])
            if reply.code == "ASK":
                pipeline.asking[at] = host
            elif self._table[slot] != host:
                self._table[slot] = host
                self._refresh_soon()
        return again

    def _note_failures(self, replies: list[Any]) -> None:
        down = [reply for reply in replies if isinstance(reply, ReplyError) and reply.code == "CLUSTERDOWN"]
        if down:
            self._refresh_soon()
        if len(down) == len(replies):
            raise StoreUnreachable(str(down[0]))

    async def _connected(self, host: Host, waits: bool) -> ReconnectingConnection:
        connection = self._connections.get((host, waits))
        if connection is None:
            connection = ReconnectingConnection(
                lambda: self._connector.node(host), ReconnectPace(), self._scripts
            )
            self._connections[host, waits] = connection
        await connection.first_attempt_done()
        return connection

    def _primaries(self) -> set[Host]:
        return {host for host in self._table if host is not None}

    async def _read_slots(self, host: Host) -> Hello:
        connection, hello = await self._connector.node(host)
        try:
            (reply,) = (await connection.send([("CLUSTER", "SLOTS")], REPLY_SECONDS)).replies
        finally:
            connection.end("done")
        if isinstance(reply, ReplyError) or not reply:
            raise StoreUnreachable(f"{host[0]}:{host[1]}: {reply or 'knows no slots'}")
        self._table = slot_table(reply, host)
        for key in [key for key in self._connections if key[0] not in self._primaries()]:
            await self._connections.pop(key).close()
        return hello

    def _refresh_soon(self) -> None:
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._refresh())

    async def _refresh(self) -> None:
        """Read the slot table from any node. If none replies, the next failure tries again."""
        await asyncio.sleep(random.uniform(0.0, 0.1))  # noqa: S311 # jitter
        hosts = list(dict.fromkeys([*self._primaries(), *self._seeds]))
        random.shuffle(hosts)
        for host in hosts:
            try:
                await self._read_slots(host)
            except StoreUnreachable:
                continue
            break
        else:
            log.warning("redis cluster unreachable")
        await asyncio.sleep(REFRESH_SECONDS)


def _entries(stream: str, reply: Any) -> tuple[bytes, Any]:
    if isinstance(reply, ReplyError):
        if reply.transient:
            return stream.encode(), None
        raise reply
    return stream.encode(), reply[0][1]
