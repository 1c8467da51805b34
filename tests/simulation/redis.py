"""A real Redis, reached over a simulated network: delays, isolation, lost replies, connections that are cut.

Commands run one after another at the server, in no time. What expires there after some time (leases and
heartbeats) expires in simulated time. A replica has all writes at once, unless it is cut off. If it is
promoted then, the writes since are undone.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import hiredis

from imc_common import keys
from imc_common.scripts import Command, Scripts, lua_folder
from imc_common.store import ReplyError, StoreUnreachable
from imc_common.store.slots import slot_of
from imc_common.store.store import WAIT_MS
from imc_common.store.xreadgroup import xreadgroup_command
from tests.simulation.time import SimulatedLoop, Simulation

pack = cast("Callable[[Command], bytes]", hiredis.pack_command)
REPLY_SECONDS = 3.0
FIRST_POLL, LONGEST_POLL = 0.005, 0.08
FOREVER_MS = 3_600_000
LISTS = ("hash-max-listpack-entries", "hash-max-listpack-value", "set-max-listpack-entries")
"""Settings of the server: what is smaller is kept as a list."""


CLOCK = ("simulated_seconds", "simulated_microseconds", "simulated_milliseconds")
"""Keys from which scripts read the time; the last one is for ids of stream entries."""


@contextmanager
def simulated_scripts() -> Iterator[Scripts]:
    """The scripts, but with simulated time, and with sets read in order: so a seed repeats its run."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "lua"
        shutil.copytree(lua_folder(), copy)
        for path in copy.rglob("*.lua"):
            text = path.read_text().replace(
                'redis.call("TIME")', f'redis.call("MGET", "{CLOCK[0]}", "{CLOCK[1]}")'
            )
            text = re.sub(r'redis\.call\("SMEMBERS", ([^)]*)\)', r'redis.call("SORT", \1, "ALPHA")', text)
            path.write_text(
                re.sub(
                    r'((?:"XADD"|append\(history), .*?)"\*"',
                    rf'\1redis.call("GET", "{CLOCK[2]}") .. "-*"',
                    text,
                )
            )
        yield Scripts(copy)


class Server:
    """The one server of a simulation, which plays all nodes of a cluster."""

    def __init__(self, simulation: Simulation, path: str, scripts: Scripts) -> None:
        self.simulation = simulation
        self.scripts = scripts
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._reader = hiredis.Reader(replyError=ReplyError)
        self._leases: dict[str, float] = {}
        self._writes = 0
        self._empty: dict[tuple[Any, Any], int] = {}
        self._alive: dict[str, dict[str, float]] = {}
        self._replica: _Replica | None = None
        """What the replica has, while it is cut off."""
        self.promotions = 0
        self.connections: list[Connection] = []
        self.announce: Callable[[bytes], None] = lambda payload: None
        shas = {name: str(scripts.command(name, (), ())[1]) for name in scripts.sources}
        self.acquire, self.heartbeat = shas["acquire_lease"], shas["record_heartbeat"]
        # in the order in which they were written: hash tables differ from server to server
        lists: Command = ("CONFIG", "SET", *(word for name in LISTS for word in (name, 1_000_000)))
        self._run(
            [lists, ("FLUSHALL",), *(("SCRIPT", "LOAD", source) for source in scripts.sources.values())]
        )

    def close(self) -> None:
        self._socket.close()

    # --- its replica

    @property
    def is_replicated(self) -> bool:
        """Whether the replica has all writes."""
        return self._replica is None

    def isolate(self) -> None:
        """Cut the replica off."""
        names = self._run([("KEYS", "*")])[0]
        values = self._run([("DUMP", name) for name in names])
        ttls = self._run([("PTTL", name) for name in names])
        kept = [(name, max(ttl, 0), value) for name, ttl, value in zip(names, ttls, values, strict=True)]
        alive = {key: dict(processes) for key, processes in self._alive.items()}
        self._replica = _Replica(kept, dict(self._leases), alive)

    def rejoin(self) -> None:
        """The replica has all writes again."""
        self._replica = None

    def promote(self) -> None:
        """The replica takes over, with what it has. All connections end."""
        if self._replica is not None:
            kept, self._leases, self._alive = self._replica
            self._run([("FLUSHDB",), *(("RESTORE", *each) for each in kept)])
        self._replica = None
        self._writes += 1
        self._empty.clear()
        self.promotions += 1
        for connection in self.connections:
            connection.cut("the server has failed")

    # --- commands

    def run(self, command: Command) -> Any:
        """Run one command now."""
        (reply,) = self.run_all([command])
        return reply

    def run_all(self, commands: Sequence[Command]) -> list[Any]:
        """Run these commands now, one after another."""
        self._expire()
        replies = [self._imitate(command) for command in commands]
        real = [at for at, reply in enumerate(replies) if reply is _REAL]
        for at, reply in zip(real, self._run([_lasting(self, commands[at]) for at in real]), strict=True):
            replies[at] = self._noted(commands[at], reply)
        return replies

    def _imitate(self, command: Command) -> Any:
        """The reply to a command that depends on the time, or needs no server."""
        now = self.simulation.now
        if command[0] == "PTTL" and str(command[1]) in self._leases:
            return int((self._leases[str(command[1])] - now) * 1000)
        if command[0] == "PUBLISH":
            self.announce(str(command[2]).encode())
            return 1
        if command[0] == "ZREM" and command[1] in {keys.EDGES, keys.WORKERS}:
            self._alive.setdefault(str(command[1]), {}).pop(str(command[2]), None)
        if command[:2] == ("EVALSHA", self.heartbeat):
            _, _, _, key, process, ttl_ms = command
            alive = self._alive.setdefault(str(key), {})
            alive[str(process)] = now + int(ttl_ms) / 1000
            return [name.encode() for name in sorted(alive) if alive[name] > now]
        # A read that found nothing finds nothing until something is written. That saves most of the time.
        if command[0] == "XREADGROUP" and self._empty.get((command[2], command[-2])) == self._writes:
            return None
        if command[0] not in {"GET", "PTTL", "XRANGE", "XLEN", "XREADGROUP"}:
            self._writes += command[:2] != ("EVALSHA", self.acquire)
        return _REAL

    def _noted(self, command: Command, reply: Any) -> Any:
        if command[:2] == ("EVALSHA", self.acquire) and reply == 1:
            self._leases[str(command[3])] = self.simulation.now + int(command[-1]) / 1000
        if command[0] == "XREADGROUP" and reply is None:
            self._empty[command[2], command[-2]] = self._writes
        return reply

    def _run(self, commands: Sequence[Command]) -> list[Any]:
        if not commands:
            return []
        now = self.simulation.wall()
        seconds, rest = divmod(now, 1)
        clock: Command = (
            "MSET",
            CLOCK[0],
            int(seconds),
            CLOCK[1],
            int(rest * 1e6),
            CLOCK[2],
            int(now * 1000),
        )
        self._socket.sendall(b"".join(map(pack, (clock, *commands))))
        return [self._reply() for _ in (clock, *commands)][1:]

    def _reply(self) -> Any:
        while (reply := self._reader.gets()) is False:
            self._reader.feed(self._socket.recv(1 << 20))
        return reply

    def _expire(self) -> None:
        now = self.simulation.now
        if ended := [key for key, until in self._leases.items() if until <= now]:
            for key in ended:
                del self._leases[key]
            self._run([("DEL", *ended)])
            self._writes += 1


class _Replica(NamedTuple):
    """What it has: key, time-to-live and value of each key, leases, and processes that are alive."""

    kept: list[tuple[bytes, int, bytes]]
    leases: dict[str, float]
    alive: dict[str, dict[str, float]]


_REAL = object()
"""Stands for the reply to a command that the server has to run."""


def _lasting(server: Server, command: Command) -> Command:
    """The command as the server gets it: leases end, and entries are numbered, by simulated time."""
    if command[0] == "XADD":
        at = command.index("*")
        return (*command[:at], f"{int(server.simulation.wall() * 1000)}-*", *command[at + 1 :])
    return (*command[:-1], FOREVER_MS) if command[:2] == ("EVALSHA", server.acquire) else command


class _Pipeline:
    """Commands on their way on one connection."""

    def __init__(
        self, commands: Sequence[Command], future: asyncio.Future[list[Any]], sent_at: float
    ) -> None:
        self.commands = commands
        self.future = future
        self.sent_at = sent_at
        self.promotions = 0
        """How often a replica had been promoted when it was sent."""


class Connection:
    """One connection of a process to a node. After a loss a new one is opened, a moment later."""

    def __init__(self, server: Server, loop: SimulatedLoop) -> None:
        self._server = server
        self._simulation = server.simulation
        self._loop = loop
        self._arrives_at = self._replies_at = 0.0
        self.isolated_until = 0.0
        self.mute_until = 0.0
        """Until then no reply arrives."""
        self._closed_until = 0.0
        self._pending: list[_Pipeline] = []
        self._number = 0
        """Of the connection: a new one ends the one before at the server."""
        self._is_closed = False
        server.connections.append(self)

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """Replies in order. Raises StoreUnreachable."""
        simulation = self._simulation
        if simulation.now < self._closed_until:
            raise StoreUnreachable("not connected")
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        pipeline = _Pipeline(commands, future, simulation.now)
        pipeline.promotions = self._server.promotions
        self._pending.append(pipeline)
        arrives = max(self._arrives_at, simulation.now + self._delay())
        if simulation.now < self.isolated_until:
            # TCP retransmits, after pauses that are doubled each time
            arrives = max(arrives, self.isolated_until + simulation.random.uniform(0.0, 0.8))
        self._arrives_at = arrives
        number = self._number
        simulation.at(arrives, lambda: self._arrived(pipeline, number))
        simulation.at(simulation.now + REPLY_SECONDS, lambda: self._check(pipeline))
        return await future

    def cut(self, why: str, *, for_good: bool = False) -> None:
        """The connection ends. What is on its way may still arrive at the server, but no reply comes."""
        random = self._simulation.random
        for pipeline in self._pending:
            self._set(pipeline, StoreUnreachable(why))
        self._pending = []
        self._arrives_at = self._replies_at = 0.0
        self._is_closed = self._is_closed or for_good
        if self._is_closed:
            return
        opens = max(self._simulation.now, self.isolated_until) + random.uniform(0.01, 0.5)
        self._closed_until = opens
        self._simulation.at(opens, self._opened)

    def _opened(self) -> None:
        self._number += 1

    def _check(self, pipeline: _Pipeline) -> None:
        if pipeline in self._pending:
            self._loop.call_soon(self._time_out, pipeline)

    def _time_out(self, pipeline: _Pipeline) -> None:
        if pipeline in self._pending and self._simulation.now - pipeline.sent_at >= REPLY_SECONDS:
            self.cut("no reply in time")

    def _arrived(self, pipeline: _Pipeline, number: int) -> None:
        simulation = self._simulation
        is_open = pipeline in self._pending
        if not is_open and (number != self._number or simulation.random.random() < 0.3):
            return  # the end of the connection came first
        if pipeline.promotions != self._server.promotions:
            return  # it was for another server
        replies = self._server.run_all(pipeline.commands)
        if not is_open:
            return
        back = max(self._replies_at, simulation.now + self._delay())
        if simulation.now < self.mute_until:
            back = max(back, self.mute_until + simulation.random.uniform(0.0, 0.5))
        self._replies_at = back
        simulation.at(back, lambda: self._replied(pipeline, replies))

    def _replied(self, pipeline: _Pipeline, replies: list[Any]) -> None:
        if pipeline in self._pending:
            self._pending.remove(pipeline)
            self._set(pipeline, replies)

    def _set(self, pipeline: _Pipeline, result: list[Any] | Exception) -> None:
        def set_result() -> None:
            if pipeline.future.done():
                return
            if isinstance(result, Exception):
                pipeline.future.set_exception(result)
            else:
                pipeline.future.set_result(result)

        self._loop.call_soon(set_result)

    def _delay(self) -> float:
        random = self._simulation.random
        return random.uniform(0.0002, 0.002) if random.random() < 0.9 else random.uniform(0.002, 0.04)


class Backend:
    """What `Store` of one process uses: connections to all nodes."""

    def __init__(self, server: Server, loop: SimulatedLoop, nodes: int) -> None:
        self._server = server
        self._nodes = [Connection(server, loop) for _ in range(nodes)]
        self._durable = [Connection(server, loop) for _ in range(nodes)]
        self.connections = [*self._nodes, *self._durable]

    async def run(self, commands: Sequence[Command], tail: Command | None = None) -> list[Any]:
        """As a cluster: an unreachable node replies with an error, and all of them with StoreUnreachable.

        ``tail`` is WAIT, whose reply comes last.
        """
        if tail is None:
            return await self._run(self._nodes, commands)
        promotions = self._server.promotions
        replies = await self._run(self._durable, commands)
        return [*replies, await self._wait(promotions)]

    async def _wait(self, before: int) -> int:
        """How many replicas have everything, at the latest after `WAIT_MS`."""
        server, loop = self._server, asyncio.get_running_loop()
        until = loop.time() + WAIT_MS / 1000
        while not server.is_replicated and loop.time() < until:
            await asyncio.sleep(FIRST_POLL)
        if server.promotions != before:
            raise StoreUnreachable("the server has failed")
        return int(server.is_replicated)

    @staticmethod
    async def _run(nodes: Sequence[Connection], commands: Sequence[Command]) -> list[Any]:
        by_node: dict[int, list[int]] = {}
        for at, command in enumerate(commands):
            by_node.setdefault((slot_of(command) or 0) % len(nodes), []).append(at)
        replies: list[Any] = [None] * len(commands)

        async def run(node: int, places: list[int]) -> None:
            try:
                found = await nodes[node].run([commands[at] for at in places])
            except StoreUnreachable as error:
                found = [ReplyError(f"CLUSTERDOWN {error}")] * len(places)
            for at, reply in zip(places, found, strict=True):
                replies[at] = reply

        await asyncio.gather(*(run(node, places) for node, places in by_node.items()))
        if replies and all(isinstance(each, ReplyError) and each.code == "CLUSTERDOWN" for each in replies):
            raise StoreUnreachable(str(replies[0]))
        return replies

    async def run_on_primaries(self, commands: Sequence[Command]) -> list[list[Any]]:
        raise NotImplementedError

    async def read_new(
        self, group: str, streams: Sequence[str], count: int, block_ms: int | None
    ) -> list[Any]:
        """As `Cluster.read_new`."""
        commands = [xreadgroup_command(group, (stream,), count, None) for stream in streams]
        loop = asyncio.get_running_loop()
        until, pause = loop.time() + (block_ms or 0) / 1000, FIRST_POLL
        while True:
            replies = await self.run(commands)
            found = []
            for stream, reply in zip(streams, replies, strict=True):
                if isinstance(reply, ReplyError):
                    if not reply.transient:
                        raise reply
                    found.append((stream.encode(), None))
                elif reply:
                    found.append((stream.encode(), reply[0][1]))
            if found or loop.time() >= until:
                return found
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_POLL)

    async def connect(self) -> Any:
        raise NotImplementedError

    async def close(self) -> None:
        """There is nothing to close."""
