"""A way to one server that mends itself: after a loss it opens a new connection, finding the primary anew."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog

from imc_common.scripts import Scripts
from imc_common.store.dial import Hello
from imc_common.store.errors import ReplyError, StoreRefused, StoreUnreachable
from imc_common.store.pipe import Command, Pipe

log = structlog.get_logger()

REPLY_SECONDS = 3.0  # silence for so long ends the connection; a rewrite of the AOF may take a second or two
STALE = frozenset(("READONLY", "MASTERDOWN", "NOAUTH"))  # not the server it was: connect, and resolve, again

Open = Callable[[], Awaitable[tuple[Pipe, Hello]]]


class Pace:
    """When the links of one process may try to connect: at most two tries a second while they fail.

    The wait has a random part, so that many processes that lost the same server do not come back in step.
    """

    def __init__(self, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._uniform = uniform
        self._turn = asyncio.Lock()
        self._next = 0.0

    async def attempt(self, open_pipe: Open) -> tuple[Pipe, Hello]:
        """Opens a pipe when it is this link's turn; raises as `open_pipe` does."""
        loop = asyncio.get_running_loop()
        async with self._turn:
            await asyncio.sleep(max(self._next - loop.time(), self._uniform(0.0, 0.1)))
            self._next = loop.time() + self._uniform(0.5, 1.0)
            opened = await open_pipe()
            self._next = 0.0
            return opened


class Link:
    """Runs pipelines on one connection, which it keeps open; fails at once while there is none."""

    def __init__(self, open_pipe: Open, pace: Pace, scripts: Scripts) -> None:
        self.opened = False
        self._open_pipe = open_pipe
        self._pace = pace
        self._scripts = scripts
        self._pipe: Pipe | None = None
        self._why = "not connected"
        self._mending: asyncio.Task[None] | None = None
        self._first_try: asyncio.Task[None] | None = None
        self._closed = False
        self._opened_at = 0.0

    async def open(self) -> Hello:
        """The first connection, without a second try. Raises StoreUnreachable, StoreRefused."""
        pipe, hello = await self._open_pipe()
        self._use(pipe)
        return hello

    async def opened_or_mending(self) -> None:
        """Returns after the first try to connect, which later ones follow in the background if it failed."""
        if self._first_try is None:
            self._first_try = asyncio.create_task(self._try_first())
        if not self._first_try.done():
            await asyncio.shield(self._first_try)

    async def run(
        self, commands: Sequence[Command], patience: float = REPLY_SECONDS, tail: Command | None = None
    ) -> list[Any]:
        """One pipeline; see `Store.run`. NOSCRIPT is answered with EVAL of those commands, in their order.

        `tail` is a command that has to come after all others have run (WAIT); its reply is the last.
        """
        pipe = self._pipe
        if pipe is None:
            raise StoreUnreachable(self._why)
        if tail is not None:
            commands = [*commands, tail]
        landed = await pipe.send(commands, patience)
        if not landed.codes:
            return landed.replies
        codes = landed.codes
        if "NOSCRIPT" in codes:
            codes = await self._load(pipe, commands, landed.replies, patience, tail)
        if codes & STALE:
            pipe.end(f"answers {' '.join(codes & STALE)}")
        return landed.replies

    async def close(self) -> None:
        """End the connection, and the search for one."""
        self._closed = True
        for task in (self._first_try, self._mending):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self._pipe is not None:
            self._pipe.end("closed")

    async def _try_first(self) -> None:
        try:
            await self.open()
        except (StoreUnreachable, StoreRefused) as error:
            self._why = str(error)
            self._mending = asyncio.create_task(self._mend())

    async def _load(
        self,
        pipe: Pipe,
        commands: Sequence[Command],
        replies: list[Any],
        patience: float,
        tail: Command | None,
    ) -> set[str]:
        missed = [i for i, r in enumerate(replies) if isinstance(r, ReplyError) and r.code == "NOSCRIPT"]
        again = [("EVAL", self._scripts.source_of(str(commands[i][1])), *commands[i][2:]) for i in missed]
        if tail is not None:
            missed.append(len(commands) - 1)
            again.append(tail)
        landed = await pipe.send(again, patience)
        for index, reply in zip(missed, landed.replies, strict=True):
            replies[index] = reply
        return landed.codes

    def _use(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self.opened = True
        self._opened_at = asyncio.get_running_loop().time()
        pipe.on_end = self._lost
        if pipe.ended:  # before anybody listened
            self._lost(pipe)

    def _lost(self, pipe: Pipe) -> None:
        self._pipe = None
        self._why = f"{pipe.name}: {pipe.ended}"
        if not self._closed:
            log.warning("connection to Redis lost", server=pipe.name, reason=pipe.ended)
            self._mending = asyncio.create_task(self._mend())

    async def _mend(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            # a server that takes connections only to drop them gets no more tries than one that is away
            await asyncio.sleep(max(0.0, self._opened_at + random.uniform(0.5, 1.0) - loop.time()))  # noqa: S311 # jitter
            try:
                pipe, _ = await self._pace.attempt(self._open_pipe)
            except (StoreUnreachable, StoreRefused) as error:
                if str(error) != self._why:
                    log.warning("Redis does not answer", reason=str(error))
                self._why = str(error)
                continue
            self._mending = None
            self._use(pipe)
            log.info("connected to Redis", server=pipe.name)
            return
