"""Several commands whose replies are needed together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from imc_edge.commit import Pending

CommandT = TypeVar("CommandT")


class OnReplies(Protocol):
    """Goes on when Redis has replied to all commands of a group."""

    def __call__(self, replies: list[Any]) -> None: ...


class CommandGroup:
    """Several commands in one pipeline; `replied` is called once with all replies, or with what failed."""

    __slots__ = ("_left", "_replied", "_replies")

    def __init__(
        self,
        submit: Callable[[CommandT, Pending], bool],
        commands: Sequence[CommandT],
        replied: OnReplies,
    ) -> None:
        self._left = len(commands)
        self._replied = replied
        self._replies: list[Any] = []
        for command in commands:
            if not submit(command, self):
                self.on_reply(None)  # too many wait for Redis already

    def on_reply(self, reply: Any) -> None:
        """The reply to the next command."""
        self._replies.append(reply)
        self._left -= 1
        if not self._left:
            self._replied(self._replies)


async def ask(submit: Callable[[CommandT, Pending], bool], commands: Sequence[CommandT]) -> list[Any]:
    """The replies to these commands; None where too many commands wait, and errors in their places."""
    if not commands:
        return []
    answered: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()

    def replied(replies: list[Any]) -> None:
        if not answered.done():
            answered.set_result(replies)

    CommandGroup(submit, commands, replied)
    return await answered


def failed(replies: Sequence[Any]) -> bool:
    """Whether one of the commands had no effect, as far as we know."""
    return any(reply is None or isinstance(reply, Exception) for reply in replies)
