"""Paces the handing out of what users have missed, so that a herd of them harms nobody else.

A worker only says that a user is to get its next part of a room (the event `catch_up`). When this edge has
time for it, it runs `lua/hand_out.lua`: that moves a part of the history into the out-stream, and from there
the messages go out like all others. So however many users come back at once, what is in flight for them is
bounded, and the rest waits in Redis and costs nothing. If this process dies, the shard's next owner finds the
`catch_up` entries like any other event.

The same holds for what users ask for with `#history` (`lua/show_history.lua`). Such an answer is handed out
as a whole, and counts as many parts as it may have: what is handed out next waits for as long. Answers and
parts take turns, and so do the users who have asked.

Nothing is handed out to a user while a failure in that room is not recorded in Redis. The next owner would
take such a message for one that is still to be sent, and send it before the history.

How many parts are handed out in one go follows from how busy the process is: one more while the event loop
keeps pace, half as many when it is late.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import structlog

from imc_common.address import counted_as
from imc_common.devices import is_device
from imc_common.metrics import Metrics
from imc_common.rooms.event import REPLAY, Event
from imc_common.rooms.history import CATCH_UP_PART, hand_out
from imc_common.rooms.spans import shown_at_most
from imc_common.settings import Settings
from imc_common.store import ReplyError, StoreUnreachable
from imc_common.store.protocols import ScriptRunner
from imc_common.tracer import Tracer
from imc_edge.delivering.delivery_context import DeliveryContext
from imc_edge.delivering.outgoing import Outgoing
from imc_edge.delivering.turns import Turns

MAX_PARTS: Final = 8
"""Parts handed out in one go at most."""
PAUSE_SECONDS: Final = 0.02
"""Between two goes."""
LATE_SECONDS: Final = 0.01
"""A pause that takes so much longer shows that the process is busy."""
MAX_PENDING: Final = 256
"""Messages from histories in flight at most. Only those read in the last second count, so that slow users do
not delay the others."""
RECENT_SECONDS: Final = 1.0
DEVICE_SECONDS = 2.0  # not Final, which mypyc would inline: tests lower it
"""Until a device gets its first part. Linphone accepts, and loses, what comes before it has stored a room:
that is after the first NOTIFY."""
DEVICE_KNOWN_SECONDS: Final = 60.0
"""A device that got a part lately knows the room: its next part does not wait."""
MAX_DEVICES: Final = 8192
"""Devices that are remembered so. If there are more, all are forgotten."""
RETRY_SECONDS: Final = 0.5
"""Pause after Redis was unreachable, or refused a script."""

log = structlog.get_logger()


class _Item:
    """A work item: a room and a user that gets its next part, or an answer."""

    __slots__ = ("event", "is_answer", "outgoing", "parts")

    def __init__(self, outgoing: Outgoing, event: Event) -> None:
        self.outgoing = outgoing
        self.event = event
        self.is_answer = event.catch_up == REPLAY
        self.parts = math.ceil(shown_at_most(event.text) / CATCH_UP_PART) if self.is_answer else 1
        """As how many parts it counts."""


class _Started(NamedTuple):
    """A message from a history that was read from the stream, and when."""

    outgoing: Outgoing
    at: float


class CatchUps:
    """The work items of this edge: parts first come, first served, answers in turn by user."""

    def __init__(
        self,
        context: DeliveryContext,
        store: ScriptRunner,
        settings: Settings,
        metrics: Metrics,
        tracer: Tracer,
        *,
        wall: Callable[[], float],
    ) -> None:
        """``wall`` gives seconds since the epoch."""
        self._context = context
        self._store = store
        self._tracer = tracer
        self._wall = wall
        self._settings = settings
        self._waiting: deque[_Item] = deque()
        self._answers: Turns[_Item] = Turns()
        self._is_turn_of_answers = False
        self._started: deque[_Started] = deque()
        self._held: dict[_Item, asyncio.TimerHandle] = {}
        """Work items for devices that wait for `DEVICE_SECONDS`."""
        self._devices: dict[tuple[str, str], float] = {}
        """When a room was last handed out to a device."""
        self._wake = asyncio.Event()
        self._parts = 1
        self._owed = 0
        """Parts handed out too many: the next goes are smaller."""
        self._caught_up = metrics.counter(
            "imc_caught_up", "Messages that users had missed and that were handed out to them."
        )
        metrics.gauge(
            "imc_catch_ups_waiting",
            "Rooms of users who are back that wait for their next part, and answers to #history that wait.",
            lambda: len(self._waiting) + len(self._answers) + len(self._held),
        )

    def reload(self, settings: Settings) -> None:
        """Go on with these settings."""
        self._settings = settings

    def add(self, outgoing: Outgoing) -> None:
        """A work item was read; it stays in flight until its part is in the out-stream."""
        item = _Item(outgoing, outgoing.event)
        (user,) = item.event.to
        if not item.is_answer and is_device(user) and self._is_new(item.event.room, user):
            loop = asyncio.get_running_loop()
            self._held[item] = loop.call_later(DEVICE_SECONDS, self._release, item)
        else:
            self._release(item)

    def _is_new(self, room: str, device: str) -> bool:
        """Whether the device got nothing of the room's history lately; from now on it has."""
        now = self._context.clock()
        last = self._devices.get((room, device))
        if len(self._devices) >= MAX_DEVICES:
            self._devices.clear()
        self._devices[room, device] = now
        return last is None or now - last > DEVICE_KNOWN_SECONDS

    def _release(self, item: _Item) -> None:
        self._held.pop(item, None)
        self._queue(item)
        self._wake.set()

    def _queue(self, item: _Item, *, first: bool = False) -> None:
        """Let an item wait for its turn, behind or before others."""
        if item.is_answer:
            self._answers.add(counted_as(item.event.actor), item, first=first)
        elif first:
            self._waiting.appendleft(item)
        else:
            self._waiting.append(item)

    def started(self, outgoing: Outgoing) -> None:
        """A message from a history is about to be sent."""
        self._started.append(_Started(outgoing, self._context.clock()))

    def stop(self) -> None:
        """Leave what waits to the next owners of the shards: this process is about to end."""
        for timer in self._held.values():
            timer.cancel()
        for item in (*self._waiting, *self._answers, *self._held):
            self._context.events.forget(item.outgoing)
        self._waiting.clear()
        self._answers.clear()
        self._held.clear()

    async def run(self) -> None:
        """Hand out until cancelled."""
        while True:
            if not (self._waiting or self._answers or self._owed):
                self._wake.clear()
                await self._wake.wait()
            await self.go()
            before = self._context.clock()
            await asyncio.sleep(PAUSE_SECONDS)
            late = self._context.clock() - before - PAUSE_SECONDS > LATE_SECONDS
            self._parts = max(1, self._parts // 2) if late else min(MAX_PARTS, self._parts + 1)

    async def go(self) -> None:
        """Hand out as many parts as the process has time for now."""
        if self._is_busy():
            return
        items = self._next_ones()
        items = [item for item in items if self._context.may_send(item.outgoing)]  # else: the new owner's
        early = [item for item in items if not item.is_answer and self._is_early(item.event)]
        self._waiting += early
        items = [item for item in items if item not in early]
        if not items:
            return
        now = self._wall()
        try:
            replies = await self._store.run(
                [hand_out(self._store, self._settings, item.event, now=now) for item in items]
            )
        except StoreUnreachable:  # each script may have run: then it finds its entry gone
            for item in reversed(items):
                self._queue(item, first=True)
            await asyncio.sleep(RETRY_SECONDS)
            return
        for item, reply in zip(items, replies, strict=True):
            self._handed_out(item, reply)
        if any(isinstance(reply, ReplyError) for reply in replies):
            await asyncio.sleep(RETRY_SECONDS)

    def _next_ones(self) -> list[_Item]:
        """The items whose turn it is, for as many parts as may be handed out now, less what is owed."""
        left, items = self._parts - self._owed, []
        while left > 0 and (item := self._next_one()) is not None:
            items.append(item)
            left -= item.parts
        self._owed = max(0, -left)
        return items

    def _next_one(self) -> _Item | None:
        """Parts and answers take turns."""
        self._is_turn_of_answers = not self._is_turn_of_answers
        if self._answers and (self._is_turn_of_answers or not self._waiting):
            return self._answers.next()
        return self._waiting.popleft() if self._waiting else None

    def _is_early(self, event: Event) -> bool:
        """Whether Redis does not know yet of all that has failed before."""
        return any(self._context.events.is_unrecorded(event.room, user) for user in event.to)

    def _is_busy(self) -> bool:
        """Whether enough is in flight, for users who are back or for all."""
        started, recent = self._started, self._context.clock() - RECENT_SECONDS
        while started and (not started[0].outgoing.pending or started[0].at < recent):
            started.popleft()
        return self._context.is_full() or len(started) >= MAX_PENDING

    def _handed_out(self, item: _Item, reply: Any) -> None:
        event = item.event
        if isinstance(reply, ReplyError):
            # The others go on meanwhile. Full memory passes; a key of a wrong type has to be repaired.
            log.warning("history not handed out", room=event.room, user=event.to[0], reason=str(reply))
            self._queue(item)
            return
        count = reply if isinstance(reply, int) else 0
        self._caught_up.value += 0 if item.is_answer else count
        if self._tracer.enabled:
            self._tracer.record("handed out", event.room, event.to, "", messages=count)
        item.outgoing.pending = 0
        self._context.events.forget(item.outgoing)
