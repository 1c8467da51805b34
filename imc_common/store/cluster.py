"""Redis Cluster: each command goes to the node of its slot; slots may move and nodes fail meanwhile.

One node that is away does not stop the others: its commands get an error as reply (`CLUSTERDOWN`), which
counts as the server's fault. Blocking reads over several slots are not to be had, so streams are polled, on
the same connections.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from imc_common.scripts import Scripts
from imc_common.store.dial import Dialer, Hello
from imc_common.store.errors import ReplyError, StoreUnreachable, reached
from imc_common.store.link import REPLY_SECONDS, Link, Pace
from imc_common.store.pipe import Command
from imc_common.store.read import read_command
from imc_common.store.slots import SLOTS, redirected_to, slot_of, slot_table
from imc_common.store.url import Host

log = structlog.get_logger()

REDIRECT_SECONDS = 2.0  # for how long a command follows a moving slot
TRYAGAIN_SECONDS = 0.02
REFRESH_SECONDS = 0.5  # between two looks at the slot table, at least
FIRST_POLL, LONGEST_POLL = 0.001, 0.010
POLL_PER_STREAM = 0.0002  # so that polling many idle shards takes no more CPU than polling few


@dataclass(slots=True)
class _Trip:
    """One pipeline on its way; `asking` are the nodes that commands were sent to by ASK."""

    commands: Sequence[Command]
    tail: Command | None
    replies: list[Any]
    tails: list[Any] = field(default_factory=list)
    asking: dict[int, Host] = field(default_factory=dict)


class Cluster:
    """The nodes of one cluster, as one route."""

    def __init__(self, dialer: Dialer, seeds: Sequence[Host], scripts: Scripts, wait_seconds: float) -> None:
        self._dialer = dialer
        self._seeds = tuple(seeds)
        self._scripts = scripts
        self._wait_seconds = wait_seconds
        self._table: list[Host | None] = [None] * SLOTS
        self._links: dict[tuple[Host, bool], Link] = {}  # the flag: for pipelines that wait
        self._refreshing: asyncio.Task[None] | None = None

    async def open(self) -> Hello:
        """Learn the slots from the first seed that answers. Raises StoreUnreachable, StoreRefused."""
        problems = []
        for seed in self._seeds:
            try:
                hello = await self._learn(seed)
            except StoreUnreachable as error:
                problems.append(str(error))
                continue
            await asyncio.gather(*(self._link(host, False) for host in self._primaries()))
            return hello
        raise StoreUnreachable(f"no node of the cluster answers: {'; '.join(problems)}")

    async def run(self, commands: Sequence[Command], tail: Command | None = None) -> list[Any]:
        """See `Store.run`. With a tail, the best reply to it is the last.

        Where a node's own reply to it falls short, its commands have an error instead of theirs.
        """
        trip = _Trip(commands, tail, [None] * len(commands))
        todo = list(range(len(commands)))
        deadline = asyncio.get_running_loop().time() + REDIRECT_SECONDS
        while todo:
            groups = self._group(trip, todo)
            await asyncio.gather(*(self._run_group(trip, *group) for group in groups.items()))
            todo = self._redirect(trip, todo)
            if asyncio.get_running_loop().time() > deadline:
                break
            if any(trip.replies[at].code == "TRYAGAIN" for at in todo):
                await asyncio.sleep(TRYAGAIN_SECONDS)
        self._note_failures(trip.replies)
        return trip.replies if tail is None else [*trip.replies, max(trip.tails, key=reached, default=0)]

    async def each(self, commands: Sequence[Command]) -> list[list[Any]]:
        """The replies of every primary. Raises StoreUnreachable."""
        links = [await self._link(host, False) for host in self._primaries()]
        return list(await asyncio.gather(*(link.run(commands) for link in links)))

    async def read_new(
        self, group: str, streams: Sequence[str], count: int, block_ms: int | None
    ) -> list[Any]:
        """See `Store.read_new`: polls, at first often. A stream whose node is away has None for entries."""
        commands = [read_command(group, (stream,), count, None) for stream in streams]
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

    async def close(self) -> None:
        """Close all connections."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)
        for link in self._links.values():
            await link.close()

    def _group(self, trip: _Trip, todo: list[int]) -> dict[tuple[Host, bool], list[int]]:
        """Places of commands by node, in order; the flag: the node is only asked (ASKING)."""
        groups: dict[tuple[Host, bool], list[int]] = {}
        anywhere = next((host for host in self._table if host is not None), self._seeds[0])
        for at in todo:
            if at in trip.asking:
                group = (trip.asking[at], True)
            else:
                slot = slot_of(trip.commands[at])
                group = ((self._table[slot] if slot is not None else None) or anywhere, False)
            groups.setdefault(group, []).append(at)
        return groups

    async def _run_group(self, trip: _Trip, group: tuple[Host, bool], places: list[int]) -> None:
        host, only_asked = group
        tail = trip.tail
        batch = [trip.commands[at] for at in places]
        if only_asked:
            batch = [part for command in batch for part in (("ASKING",), self._with_source(command))]
        try:
            link = await self._link(host, tail is not None)
            patience = REPLY_SECONDS + (self._wait_seconds if tail is not None else 0.0)
            answers = await link.run(batch, patience, tail)
        except StoreUnreachable as error:
            answers = [ReplyError(f"CLUSTERDOWN {error}")] * (len(batch) + (tail is not None))
        if tail is not None:
            *answers, waited = answers
            trip.tails.append(waited)
            if reached(waited) < int(tail[1]):
                answers = [ReplyError(f"NOREPLICAS written, but {tail[0]!s} says {waited}")] * len(batch)
        for at, answer in zip(places, answers[1::2] if only_asked else answers, strict=True):
            trip.replies[at] = answer

    def _with_source(self, command: Command) -> Command:
        """ASKING holds for the next command only, so a script must not need a second try."""
        if command[0] != "EVALSHA":
            return command
        return ("EVAL", self._scripts.source_of(str(command[1])), *command[2:])

    def _redirect(self, trip: _Trip, todo: list[int]) -> list[int]:
        """Which commands have to go elsewhere, or again; MOVED is remembered for the slot."""
        again = []
        for at in todo:
            reply = trip.replies[at]
            trip.asking.pop(at, None)
            if not isinstance(reply, ReplyError) or reply.code not in {"MOVED", "ASK", "TRYAGAIN"}:
                continue
            again.append(at)
            slot = slot_of(trip.commands[at])
            if slot is None or reply.code == "TRYAGAIN":
                continue
            host = redirected_to(str(reply), self._table[slot] or self._seeds[0])
            if reply.code == "ASK":
                trip.asking[at] = host
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

    async def _link(self, host: Host, waits: bool) -> Link:
        link = self._links.get((host, waits))
        if link is None:
            link = self._links[host, waits] = Link(lambda: self._dialer.node(host), Pace(), self._scripts)
        await link.opened_or_mending()
        return link

    def _primaries(self) -> set[Host]:
        return {host for host in self._table if host is not None}

    async def _learn(self, host: Host) -> Hello:
        pipe, hello = await self._dialer.node(host)
        try:
            (reply,) = (await pipe.send([("CLUSTER", "SLOTS")], REPLY_SECONDS)).replies
        finally:
            pipe.end("asked")
        if isinstance(reply, ReplyError) or not reply:
            raise StoreUnreachable(f"{host[0]}:{host[1]}: {reply or 'knows no slots'}")
        self._table = slot_table(reply, host)
        for key in [key for key in self._links if key[0] not in self._primaries()]:
            await self._links.pop(key).close()
        return hello

    def _refresh_soon(self) -> None:
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._refresh())

    async def _refresh(self) -> None:
        """Learn the slots anew from some node; when none answers, the next failure asks again."""
        await asyncio.sleep(random.uniform(0.0, 0.1))  # noqa: S311 # jitter
        hosts = list(dict.fromkeys([*self._primaries(), *self._seeds]))
        random.shuffle(hosts)
        for host in hosts:
            try:
                await self._learn(host)
            except StoreUnreachable:
                continue
            break
        else:
            log.warning("no node of the cluster answers")
        await asyncio.sleep(REFRESH_SECONDS)


def _entries(stream: str, reply: Any) -> tuple[bytes, Any]:
    if isinstance(reply, ReplyError):
        if reply.transient:
            return stream.encode(), None
        raise reply
    return stream.encode(), reply[0][1]
