"""Simulated time: event loops that run only when they are told to, and whose timers need no waiting.

Each simulated process has a loop of its own, so that one can be suspended while the others go on.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any


class _NoFiles:
    """Stands for the selector of a loop without sockets."""

    @staticmethod
    def select(timeout: float | None) -> list[Any]:
        return []


class SimulatedLoop(asyncio.BaseEventLoop):
    """The event loop of one process. It has no sockets and no threads."""

    def __init__(self, simulation: Simulation) -> None:
        super().__init__()
        self._simulation = simulation
        self._selector = _NoFiles()
        self.suspended = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._error: BaseException | None = None

    def time(self) -> float:
        return self._simulation.now

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run this in the process; an error ends the simulation."""
        task = self.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            self._error = self._error or task.exception()

    @property
    def next_time(self) -> float | None:
        """When it has something to do, None: never."""
        if self._ready:  # type: ignore[attr-defined] # a loop's own
            return self._simulation.now
        scheduled = self._scheduled  # type: ignore[attr-defined] # a loop's own
        return float(scheduled[0].when()) if scheduled else None

    def turn(self) -> None:
        """Do what is to be done now."""
        asyncio._set_running_loop(self)
        try:
            self._run_once()  # type: ignore[attr-defined] # a loop's own
        finally:
            asyncio._set_running_loop(None)
        if self._error is not None:
            raise self._error

    def abandon(self) -> None:
        """Cancel everything, and close."""
        asyncio._set_running_loop(self)
        try:
            for _ in range(5):
                for task in asyncio.all_tasks(self):
                    task.cancel()
                for _ in range(5):
                    if self._ready:  # type: ignore[attr-defined] # a loop's own
                        self._run_once()  # type: ignore[attr-defined] # a loop's own
        finally:
            asyncio._set_running_loop(None)
        self.close()

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """It never sleeps."""


class Simulation:
    """The time, and what happens outside the processes: networks, servers, phones."""

    def __init__(self, seed: int) -> None:
        self.now = 1000.0
        self.random = Random(seed)
        self.loops: list[SimulatedLoop] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._ended: list[SimulatedLoop] = []

    def clock(self) -> float:
        """Monotonic, in seconds: the same for all."""
        return self.now

    def wall(self) -> float:
        """Seconds since the epoch."""
        return 1_700_000_000.0 + self.now

    def new_loop(self) -> SimulatedLoop:
        loop = SimulatedLoop(self)
        self.loops.append(loop)
        return loop

    def end(self, loop: SimulatedLoop) -> None:
        """The process is killed: nothing of it ever runs again."""
        self.loops.remove(loop)
        self._ended.append(loop)

    def close(self) -> None:
        """End all processes, and free what they hold."""
        for loop in (*self.loops, *self._ended):
            loop.abandon()

    def at(self, when: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (max(when, self.now), next(self._numbers), event))

    def after(self, seconds: float, event: Callable[[], None]) -> None:
        self.at(self.now + seconds, event)

    def run_until(self, end: float) -> None:
        """Let everything happen up to this time."""
        while True:
            self._run_loops()
            times = [t for loop in self.loops if not loop.suspended and (t := loop.next_time) is not None]
            if self._events:
                times.append(self._events[0][0])
            soonest = min(times, default=end)
            if soonest > end:
                self.now = end
                return
            self.now = max(self.now, soonest)
            while self._events and self._events[0][0] <= self.now:
                heapq.heappop(self._events)[2]()

    def _run_loops(self) -> None:
        """Let each process do what it can do now, in random order."""
        while True:
            due = [
                loop
                for loop in self.loops
                if not loop.suspended and (at := loop.next_time) is not None and at <= self.now
            ]
            if not due:
                return
            self.random.shuffle(due)
            for loop in due:
                if loop in self.loops:
                    loop.turn()
