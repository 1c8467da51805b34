"""Coroutines that ask Redis. What several of them ask at a time goes there in one pipeline.

    (reply,) = await ask(("GET", key))

Each runs at once up to its first question, and goes on when the reply comes. So it needs no task of its own,
and one that asks nothing, because its request has a fault, costs a call.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any, Final

from imc_common.store import Command, StoreUnreachable
from imc_common.store.protocols import CommandRunner
from imc_edge.commit import GroupCommit

MAX_WAITING: Final = 10_000
"""Commands that may wait for Redis. A coroutine that asks more gets StoreUnreachable."""


class ask:  # noqa: N801 # awaited as a function would be
    """Commands for Redis; awaited, it gives their replies. Raises StoreUnreachable and ReplyError.

    Only in coroutines that `Lookups` runs.
    """

    __slots__ = ("_commands",)

    def __init__(self, *commands: Command) -> None:
        self._commands = commands

    def __await__(self) -> Generator[tuple[Command, ...], list[Any], list[Any]]:
        replies = yield self._commands
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies


class Lookups:
    """Runs coroutines that `ask`."""

    def __init__(self, store: CommandRunner) -> None:
        self._commit: GroupCommit[Command] = GroupCommit(store.run, MAX_WAITING)

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine, which must not raise, up to its first question. The replies carry it on."""
        _Run(self._commit, coroutine).go_on(None)

    async def run(self) -> None:
        """Ask Redis until cancelled."""
        await self._commit.run()

    async def drain(self, deadline: float) -> None:
        """Return when no coroutine waits for Redis, or at this time of the loop's clock."""
        await self._commit.drain(deadline)


class _Run:
    """One coroutine, and the replies to its present question."""

    __slots__ = ("_asked", "_commit", "_coroutine", "_replies")

    def __init__(self, commit: GroupCommit[Command], coroutine: Coroutine[Any, Any, None]) -> None:
        self._commit = commit
        self._coroutine = coroutine
        self._replies: list[Any] = []
        self._asked = 0

    def go_on(self, replies: list[Any] | None) -> None:
        """Run up to the next question, or to the end."""
        try:
            commands = self._coroutine.send(replies)
        except StopIteration:
            return
        self._replies = []
        self._asked = len(commands)
        for command in commands:
            if not self._commit.submit(command, self):
                self.on_reply(StoreUnreachable("too many requests wait for Redis"))

    def on_reply(self, reply: Any) -> None:
        """The reply to one command; they come in the order of the commands, if none is an error."""
        self._replies.append(reply)
        if len(self._replies) == self._asked:
            self.go_on(self._replies)
