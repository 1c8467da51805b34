"""The steps a message takes, told to who follows them: `imc trace`, `imc top`, and log lines at level debug.

Usually nobody does, and a step costs one look at `on`. Somebody who follows puts an address into a set in
Redis that lives for seconds; every process looks at it once a second and from then on writes the steps of
that address into a short stream, which Redis drops when it is not written to any more.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import structlog

from imc_common import keys
from imc_common.rooms.request import as_mapping
from imc_common.settings import Settings
from imc_common.store import Command, StoreUnreachable
from imc_common.store.protocols import CommandRunner

LOOK_SECONDS = 1.0
FLUSH_SECONDS = 0.1
WATCHED_MS = 15_000
"""How long an address is watched after the last time somebody asked for it."""
KEPT_MS = 60_000
KEPT_STEPS = 5000
MOST_WAITING = 1000
"""Steps that wait to be written; more are left out, and their number is told."""
BUSIEST = 100
"""Rooms a process tells of per flush, those with the most requests."""
ROOMS = "*rooms"
"""Watched like an address, it asks for the number of requests by room."""

log = structlog.get_logger()


class Steps:
    """Where a process notes steps: ``if steps.on: steps.note(…)``."""

    def __init__(
        self, store: CommandRunner, process: str, *, verbose: bool, wall: Callable[[], float]
    ) -> None:
        """``verbose``: log every step. ``wall()``: seconds since the epoch."""
        self.on = verbose
        """Whether anybody wants to know."""
        self._store = store
        self._process = process
        self._verbose = verbose
        self._wall = wall
        self._watched: frozenset[str] = frozenset()
        self._waiting: list[Command] = []
        self._left_out = 0
        self._rooms: Counter[str] = Counter()

    def note(self, step: str, room: str, people: Iterable[str], call_id: str, **more: str | int) -> None:
        """One step of a message in a room; `people` are those it comes from or goes to."""
        people = tuple(people)
        if self._verbose:
            log.debug(step, room=room, people=" ".join(people), call_id=call_id, **more)
        if room not in self._watched and self._watched.isdisjoint(people):
            return
        if len(self._waiting) >= MOST_WAITING:
            self._left_out += 1
            return
        at = int(self._wall() * 1000)
        fields = ("at", at, "process", self._process, "step", step, "room", room, "people", " ".join(people))
        further = [str(part) for item in more.items() for part in item]
        cap = ("MAXLEN", "~", KEPT_STEPS)
        self._waiting.append(("XADD", keys.TRACE, *cap, "*", *fields, "call_id", call_id, *further))

    def handled(self, flat: Sequence[bytes], result: Any) -> None:
        """A worker is done with an entry of an in-stream; `flat` are its fields."""
        fields = {name.decode(): value for name, value in as_mapping(flat).items() if name != b"data"}
        text = {name: value.decode("utf-8", "replace") for name, value in fields.items()}
        room = text.get("room", "")
        if ROOMS in self._watched:
            self._rooms[room] += 1
        people = [text[name] for name in ("from", "user") if name in text]
        shown = result.decode() if isinstance(result, bytes) else str(result)
        self.note("handled", room, people, text.get("call_id", ""), type=text.get("type", ""), result=shown)

    def reload(self, settings: Settings) -> None:
        """Go on with these settings."""
        self._verbose = settings.log_level == "debug"
        self.on = self._verbose or bool(self._watched)

    async def run(self) -> None:
        """Look who is watched and write what was noted, until cancelled."""
        next_look = 0.0
        while True:
            now = asyncio.get_running_loop().time()
            with suppress(StoreUnreachable):  # nobody can follow then
                if now >= next_look:
                    next_look = now + LOOK_SECONDS
                    await self.look()
                await self.flush()
            await asyncio.sleep(FLUSH_SECONDS if self._watched else LOOK_SECONDS)

    async def look(self) -> None:
        """See who is watched. Raises StoreUnreachable."""
        (members,) = await self._store.run([("SMEMBERS", keys.WATCHED)])
        found = members if isinstance(members, list | set) else ()
        self._watched = frozenset(member.decode() for member in found)
        self.on = self._verbose or bool(self._watched)

    async def flush(self) -> None:
        """Write what was noted. Raises StoreUnreachable."""
        commands, self._waiting = self._waiting, []
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
    """The commands that have these watched for a while."""
    return [("SADD", keys.WATCHED, *addresses), ("PEXPIRE", keys.WATCHED, WATCHED_MS)]


def unwatch(*addresses: str) -> list[Command]:
    """The commands that end it."""
    return [("SREM", keys.WATCHED, *addresses)]
