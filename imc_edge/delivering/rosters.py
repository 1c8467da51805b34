"""Paces the NOTIFYs with the members of a room: however many join in a second, each device gets one.

A worker only says that a room has changed (the event `roster`), and no second time until an edge has taken
that up. The edge does so at once, but not more than once a second for a room: it runs
`lua/notify_devices.lua`, which writes a NOTIFY for each device that is behind. So changes that come together
are one notification. If this process dies, the shard's next owner finds the event like any other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

import structlog

from imc_common.rooms.roster import notify_devices
from imc_common.settings import Settings
from imc_common.store import ReplyError, StoreUnreachable
from imc_common.store.protocols import ScriptRunner
from imc_edge.delivering.delivery_context import DeliveryContext
from imc_edge.delivering.outgoing import Outgoing

INTERVAL: Final = 1.0
"""Seconds between two notifications of a room, at least."""
AT_ONCE: Final = 32
"""Rooms in one pipeline: a script of a large room costs Redis some milliseconds."""
PAUSE_SECONDS: Final = 0.05
RETRY_SECONDS: Final = 0.5
"""Pause after Redis was unreachable, or refused a script."""

log = structlog.get_logger()


class Rosters:
    """The rooms whose devices are to be notified."""

    def __init__(self, context: DeliveryContext, store: ScriptRunner, settings: Settings) -> None:
        self._context = context
        self._store = store
        self._settings = settings
        self._waiting: deque[Outgoing] = deque()
        self._last: dict[str, float] = {}
        """When a room was last notified, in the last `INTERVAL`, oldest first."""
        self._wake = asyncio.Event()
        self._clock: Callable[[], float] = context.clock

    def reload(self, settings: Settings) -> None:
        """Go on with these settings."""
        self._settings = settings

    def add(self, outgoing: Outgoing) -> None:
        """A work item was read; it stays in flight until its script has run."""
        outgoing.pending = 1
        self._context.events.add(outgoing)
        self._waiting.append(outgoing)
        self._wake.set()

    def stop(self) -> None:
        """Leave what waits to the next owners of the shards: this process is about to end."""
        for outgoing in self._waiting:
            self._context.events.forget(outgoing)
        self._waiting.clear()

    async def run(self) -> None:
        """Notify until cancelled."""
        while True:
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
            await self.go()
            await asyncio.sleep(PAUSE_SECONDS)

    async def go(self) -> None:
        """Run the scripts of the rooms that are due."""
        due = self._due()
        if not due:
            return
        try:
            replies = await self._store.run(
                [notify_devices(self._store, self._settings, each.event) for each in due]
            )
        except StoreUnreachable:  # each script may have run: then it finds its entry gone
            self._waiting.extendleft(reversed(due))
            await asyncio.sleep(RETRY_SECONDS)
            return
        now = self._clock()
        for outgoing, reply in zip(due, replies, strict=True):
            room = outgoing.event.room
            if isinstance(reply, ReplyError):
                # Full memory passes; a key of a wrong type has to be repaired.
                log.warning("devices not notified", room=room, reason=str(reply))
                self._waiting.append(outgoing)
                continue
            self._last.pop(room, None)
            self._last[room] = now
            outgoing.pending = 0
            self._context.events.forget(outgoing)
        if any(isinstance(reply, ReplyError) for reply in replies):
            await asyncio.sleep(RETRY_SECONDS)

    def _due(self) -> list[Outgoing]:
        """Take out those whose room was not notified in the last second, and forget the older ones."""
        long_ago = self._clock() - INTERVAL
        while self._last and next(iter(self._last.values())) <= long_ago:
            del self._last[next(iter(self._last))]
        due: list[Outgoing] = []
        for _ in range(len(self._waiting)):
            outgoing = self._waiting.popleft()
            if not self._context.may_send(outgoing):
                continue  # the new owner's
            if len(due) < AT_ONCE and outgoing.event.room not in self._last:
                due.append(outgoing)
            else:
                self._waiting.append(outgoing)
        return due
