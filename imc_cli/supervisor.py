"""Supervises child processes: starts them, restarts those that die, stops them together."""

from __future__ import annotations

import asyncio
import ctypes
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from imc_common.errors import ImcError

FIRST_PAUSE, MAX_PAUSE = 0.25, 10.0  # seconds before a dead child is restarted
STABLE_SECONDS = 30.0  # after so long the pause starts at FIRST_PAUSE again


_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1  # prctl(2)


class ChildError(ImcError):
    """A child ended before it was ready."""


@dataclass(slots=True)
class Child:
    """One process to keep running."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    process: asyncio.subprocess.Process | None = field(default=None, init=False)

    async def start(self) -> asyncio.subprocess.Process:
        """Start it in its own process group: Ctrl-C at the terminal reaches only the supervisor.

        If the supervisor is killed, Linux asks the child to end (SIGTERM: it drains).
        """
        self.process = await asyncio.create_subprocess_exec(
            *self.argv,
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            process_group=0,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
        return self.process

    def signal(self, number: int) -> None:
        """Pass a signal on if the process runs."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(number)


class Supervisor:
    """Runs its children from :meth:`start` to :meth:`stop`. ``say`` prints what happens."""

    def __init__(self, children: Sequence[Child], say: Callable[[str], None]) -> None:
        self._children = children
        self._say = say
        self._tasks: list[asyncio.Task[None]] = []
        self._serving = False
        self._stopping = False

    async def start(self, ready: Callable[[], asyncio.Future[None]]) -> None:
        """Start all and wait for ``ready()``. Raises ChildError if a child ends before."""
        self._tasks = [asyncio.create_task(self._keep(child)) for child in self._children]
        waiting = ready()
        try:
            done, _ = await asyncio.wait([waiting, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        for task in done:
            task.result()
        self._serving = True

    async def _keep(self, child: Child) -> None:
        """Start the child, and restart it when it dies, after a growing pause."""
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE
        while True:
            started = loop.time()
            status = await (await child.start()).wait()
            if self._stopping:
                return
            if not self._serving:
                raise ChildError(f"{child.name} failed to start ({_ending(status)})")
            if loop.time() - started > STABLE_SECONDS:
                pause = FIRST_PAUSE
            self._say(f"{child.name} ended ({_ending(status)}), restarting in {pause:g} s")
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_PAUSE)

    def signal(self, number: int) -> None:
        """Pass a signal on to every child."""
        for child in self._children:
            child.signal(number)

    async def stop(self, deadline: float) -> bool:
        """Stop all with SIGTERM, which drains them; kill those that still run after ``deadline`` seconds.

        Returns whether none had to be killed.
        """
        self._stopping = True
        self.signal(signal.SIGTERM)
        living = [c.process for c in self._children if c.process is not None and c.process.returncode is None]
        clean = True
        if living:
            endings = asyncio.gather(*(process.wait() for process in living))
            try:
                async with asyncio.timeout(deadline):
                    await endings
            except TimeoutError:
                clean = False
                self._say(f"some processes still run after {deadline:g} s: killing them")
                await self.kill()
        for task in self._tasks:
            task.cancel()  # those that wait before a restart
        await asyncio.gather(*self._tasks, return_exceptions=True)
        return clean

    async def kill(self) -> None:
        """Kill every child. Unfinished work stays in Redis."""
        self._stopping = True
        self.signal(signal.SIGKILL)
        for child in self._children:
            if child.process is not None:
                await child.process.wait()


def _end_with_parent() -> None:
    """In the child, before it becomes its program."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _ending(status: int) -> str:
    if status >= 0:
        return f"status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
