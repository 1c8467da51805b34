"""A connection to one server that is opened again after a loss. Each attempt looks for the primary again.

What was sent on the lost connection may still be on its way: TCP retransmits it after a network failure, even
if the process has closed the connection. A read that arrives so late would take entries that nobody gets, and
a lease would be released that was taken again. So a new connection first ends its predecessor at the server.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog

from imc_common.scripts import Command, Scripts
from imc_common.store.connection import RedisConnection
from imc_common.store.connector import Hello, Opened
from imc_common.store.errors import ReplyError, StoreRefused, StoreUnreachable

log = structlog.get_logger()

REPLY_SECONDS = 3.0
"""A connection without a reply for so long is ended. A rewrite of the AOF may take a second or two."""
STALE = frozenset(("READONLY", "MASTERDOWN", "NOAUTH", "NOREPLICAS"))
"""Error codes of a server that is no longer the primary: connect again, which resolves its name again.

A primary without replicas (NOREPLICAS) may be one that is cut off, and that the sentinels have replaced.
"""

Connect = Callable[[], Awaitable[Opened]]


class ReconnectPace:
    """Spaces the connection attempts of one process: at most two a second while they fail.

    The wait has a random part, so that processes that lost the same server do not reconnect in step.
    """

    def __init__(self, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._uniform = uniform
        self._turn = asyncio.Lock()
        self._next = 0.0

    async def attempt(self, connect: Connect) -> Opened:
        """Connect when it is this caller's turn. Raises as `connect` does."""
        loop = asyncio.get_running_loop()
        async with self._turn:
            await asyncio.sleep(max(self._next - loop.time(), self._uniform(0.0, 0.1)))
            self._next = loop.time() + self._uniform(0.5, 1.0)
            opened = await connect()
            self._next = 0.0
            return opened


class ReconnectingConnection:
    """Runs pipelines on one connection that it keeps open. While there is none, pipelines fail at once."""

    def __init__(self, connect: Connect, pace: ReconnectPace, scripts: Scripts) -> None:
        self.opened = False
        self._connect = connect
        self._pace = pace
        self._scripts = scripts
        self._connection: RedisConnection | None = None
        self._why = "not connected"
        self._reconnecting: asyncio.Task[None] | None = None
        self._first_attempt: asyncio.Task[None] | None = None
        self._closed = False
        self._opened_at = 0.0
        self._predecessor: RedisConnection | None = None
        """The last connection, which the server may still have."""

    async def open(self) -> Hello:
        """Open the first connection, in one attempt. Raises StoreUnreachable, StoreRefused."""
        connection, hello = await self._connect()
        self._use(connection)
        return hello

    async def first_attempt_done(self) -> None:
        """Return after the first attempt to connect. If it failed, further ones follow in the background."""
        if self._first_attempt is None:
            self._first_attempt = asyncio.create_task(self._attempt_first())
        if not self._first_attempt.done():
            await asyncio.shield(self._first_attempt)

    async def run(
        self, commands: Sequence[Command], reply_seconds: float = REPLY_SECONDS, tail: Command | None = None
    ) -> list[Any]:
        """Run one pipeline; see `Store.run`. Commands refused with NOSCRIPT are sent again as EVAL, in order.

        Without a reply for `reply_seconds` the connection ends. `tail` is a command that must run after all
        others (WAIT); its reply is the last.
        """
        connection = self._connection
        if connection is None:
            raise StoreUnreachable(self._why)
        if tail is not None:
            commands = [*commands, tail]
        received = await connection.send(commands, reply_seconds)
        if not received.codes:
            return received.replies
        codes = received.codes
        if "NOSCRIPT" in codes:
            codes = await self._load(connection, commands, received.replies, reply_seconds, tail)
        if codes & STALE:
            connection.end(f"replies {' '.join(codes & STALE)}")
        return received.replies

    async def close(self) -> None:
        """End the connection and all attempts to open one."""
        self._closed = True
        for task in (self._first_attempt, self._reconnecting):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self._connection is not None:
            self._connection.end("closed")

    async def _attempt_first(self) -> None:
        try:
            await self.open()
        except (StoreUnreachable, StoreRefused) as error:
            self._why = str(error)
            self._reconnecting = asyncio.create_task(self._reconnect())

    async def _load(
        self,
        connection: RedisConnection,
        commands: Sequence[Command],
        replies: list[Any],
        reply_seconds: float,
        tail: Command | None,
    ) -> set[str]:
        missed = [i for i, r in enumerate(replies) if isinstance(r, ReplyError) and r.code == "NOSCRIPT"]
        again = [("EVAL", self._scripts.source_of(str(commands[i][1])), *commands[i][2:]) for i in missed]
        if tail is not None:
            missed.append(len(commands) - 1)
            again.append(tail)
        received = await connection.send(again, reply_seconds)
        for index, reply in zip(missed, received.replies, strict=True):
            replies[index] = reply
        return received.codes

    def _use(self, connection: RedisConnection) -> None:
        self._connection = connection
        self.opened = True
        self._opened_at = asyncio.get_running_loop().time()
        connection.on_end = self._lost
        if connection.ended:  # before on_end was set
            self._lost(connection)

    def _lost(self, connection: RedisConnection) -> None:
        self._connection = None
        self._predecessor = connection
        self._why = f"{connection.name}: {connection.ended}"
        if not self._closed:
            log.warning("redis connection lost", server=connection.name, reason=connection.ended)
            self._reconnecting = asyncio.create_task(self._reconnect())

    async def _reconnect(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            # also space the attempts if the server accepts connections and drops them at once
            await asyncio.sleep(max(0.0, self._opened_at + random.uniform(0.5, 1.0) - loop.time()))  # noqa: S311 # jitter
            try:
                connection, _ = await self._pace.attempt(self._connect)
                self._opened_at = loop.time()
                await self._end_predecessor(connection)
            except (StoreUnreachable, StoreRefused) as error:
                if str(error) != self._why:
                    log.warning("redis unreachable", reason=str(error))
                self._why = str(error)
                continue
            self._reconnecting = None
            self._use(connection)
            log.info("redis connected", server=connection.name)
            return

    async def _end_predecessor(self, connection: RedisConnection) -> None:
        """Have the server drop the last connection, and all that has not arrived. Raises StoreUnreachable.

        If the user may not do that (CLIENT KILL), what was sent before may take effect late.
        """
        former = self._predecessor
        # Ids begin anew when a server restarts: the address tells whether it is still the same connection.
        if former is None or former.name != connection.name or not (former.number and former.local_address):
            return
        kill = ("CLIENT", "KILL", "ID", former.number, "ADDR", former.local_address)
        try:
            (reply,) = (await connection.send([kill], REPLY_SECONDS)).replies
        except StoreUnreachable:
            connection.end("replaced")
            raise
        if isinstance(reply, ReplyError) and reply.code == "NOPERM":
            log.warning("connection not ended at the server", server=connection.name, reason=str(reply))
