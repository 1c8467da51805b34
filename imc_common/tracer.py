"""Records the steps of messages for `imc trace`, `imc top`, and log lines at level debug.

Usually no one follows a message, and a step costs one check of `enabled`. `imc trace` adds an address to a
set in Redis that expires after seconds. Every process reads the set once a second, and then writes the
steps of these addresses to a short stream, which also expires.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import structlog

from imc_common import keys
from imc_common.rooms.request import as_mapping, call_id_of
from imc_common.settings import Settings
from imc_common.store import Command, StoreUnreachable
from imc_common.store.protocols import CommandRunner

READ_SECONDS = 1.0
"""Between two reads of the set of watched addresses."""
FLUSH_SECONDS = 0.1
WATCHED_MS = 15_000
"""How long an address is watched after the last request for it."""
KEPT_MS = 60_000
KEPT_STEPS = 5000
MAX_PENDING = 1000
"""Steps that wait to be written. Further ones are left out; their number is written."""
BUSIEST = 100
"""Rooms that a process reports at each flush: those with the most requests."""
MAX_ROOMS = 10_000
"""Rooms whose requests are counted between two flushes. Further ones are left out: a flush may fail."""
ROOMS = "*rooms"
"""If this is watched, like an address, processes count the requests of each room."""

log = structlog.get_logger()


class Tracer:
    """Records the steps in one process: ``if tracer.enabled: tracer.record(…)``."""

    def __init__(
        self, store: CommandRunner, process: str, *, verbose: bool, wall: Callable[[], float]
    ) -> None:
        """``verbose``: also log every step. ``wall()``: seconds since the epoch."""
        self.enabled = verbose
        """Whether steps are wanted now: by a log level, or by a watched address."""
        self._store = store
        self._process = process
        self._verbose = verbose
        self._wall = wall
        self._watched: frozenset[str] = frozenset()
        self._pending: list[Command] = []
        self._left_out = 0
        self._rooms: Counter[str] = Counter()

    def record(self, step: str, room: str, users: Iterable[str], call_id: str, **more: str | int) -> None:
        """Record one step of a message in a room. `users`: its sender and recipients."""
        users = tuple(users)
        if self._verbose:
            log.debug(step, room=room, users=" ".join(users), call_id=call_id, **more)
        if room not in self._watched and self._watched.isdisjoint(users):
            return
        if len(self._pending) >= MAX_PENDING:
            self._left_out += 1
            return
        at = int(self._wall() * 1000)
        fields = ("at", at, "process", self._process, "step", step, "room", room, "users", " ".join(users))
        further = [str(part) for item in more.items() for part in item]
        cap = ("MAXLEN", "~", KEPT_STEPS)
        self._pending.append(("XADD", keys.TRACE, *cap, "*", *fields, "call_id", call_id, *further))

    def handled(self, flat: Sequence[bytes], result: Any) -> None:
        """A worker has handled an entry of an in-stream. `flat`: its fields, name, value, name, value, …"""
        fields = {name.decode(): value for name, value in as_mapping(flat).items() if name != b"data"}
        text = {name: value.decode("utf-8", "replace") for name, value in fields.items()}
        room = text.get("room", "")
        if ROOMS in self._watched and (room in self._rooms or len(self._rooms) < MAX_ROOMS):
            self._rooms[room] += 1
        users = [text[name] for name in ("from", "user") if name in text]
        shown = result.decode() if isinstance(result, bytes) else str(result)
        self.record("handled", room, users, call_id_of(flat), type=text.get("type", ""), result=shown)

    def reload(self, settings: Settings) -> None:
        """Use these settings from now on."""
        self._verbose = settings.log_level == "debug"
        self.enabled = self._verbose or bool(self._watched)

    async def run(self) -> None:
        """Read the watched addresses and write recorded steps, until cancelled."""
        next_read = 0.0
        while True:
            now = asyncio.get_running_loop().time()
            with suppress(StoreUnreachable):  # the next round tries again
                if now >= next_read:
                    next_read = now + READ_SECONDS
                    await self.read_watched()
                await self.flush()
            await asyncio.sleep(FLUSH_SECONDS if self._watched else READ_SECONDS)

    async def read_watched(self) -> None:
        """Read the watched addresses. Raises StoreUnreachable."""
        (members,) = await self._store.run([("SMEMBERS", keys.WATCHED)])
        found = members if isinstance(members, list | set) else ()
        self._watched = frozenset(member.decode() for member in found)
        self.enabled = self._verbose or bool(self._watched)

    async def flush(self) -> None:
        """Write the recorded steps to Redis. Raises StoreUnreachable."""
        commands, self._pending = self._pending, []
        if self._left_out:
            commands.append(("XADD", keys.TRACE, "*", "process", self._process, "left_out", self._left_out))
            self._left_out = 0
        if commands:
            commands.append(("PEXPIRE", keys.TRACE, KEPT_MS))
        if self._rooms:
            busiest = self._rooms.most_common(BUSIEST)
            self._rooms.clear()
            commands += [("ZINCRBY", keys.BUSIEST, count, room) for room, count in busiest]
            commands.append(("PEXPIRE", keys.BUSIEST, WATCHED_MS))
        if commands:
            await self._store.run(commands)


def watch(*addresses: str) -> list[Command]:
    """The commands that watch these addresses for a while."""
    return [("SADD", keys.WATCHED, *addresses), ("PEXPIRE", keys.WATCHED, WATCHED_MS)]


def unwatch(*addresses: str) -> list[Command]:
    """The commands that stop watching them."""
    return [("SREM", keys.WATCHED, *addresses)]
