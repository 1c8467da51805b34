"""Group commit: many requests reach Redis in one round trip, and only then get their responses.

While one pipeline is in flight, what arrives is collected for the next. So load makes the batches, a lone
request waits for nothing, and no timer is involved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, Protocol, TypeVar

import structlog

from imc_common.store import StoreUnreachable

MAX_BATCH: Final = 512
"""Commands per pipeline: bounds the time until the first of them has its reply."""
DRAIN_STEP: Final = 0.01
"""Seconds between two looks whether anything is still pending."""

_log = structlog.get_logger()


class Pending(Protocol):
    """What goes on once Redis has replied to a command."""

    def on_reply(self, reply: Any) -> None:
        """Called once, with the reply or the error in its place. An error that it raises is only logged."""
        ...


CommandT = TypeVar("CommandT")


class GroupCommit(Generic[CommandT]):
    """Commands, each with what is pending on its reply."""

    def __init__(self, run: Callable[[list[CommandT]], Awaitable[list[Any]]], max_waiting: int) -> None:
        """``run`` runs a pipeline: it gives the replies in order, or raises StoreUnreachable."""
        self._run = run
        self._max_waiting = max_waiting
        self._waiting: list[tuple[CommandT, Pending]] = []
        self._in_flight = 0
        self._wake: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        """How many commands wait or are in flight."""
        return len(self._waiting) + self._in_flight

    def submit(self, command: CommandT, pending: Pending) -> bool:
        """Add a command to the next pipeline. False if too many wait; then ``pending`` gets no reply."""
        waiting = self._waiting
        if len(waiting) >= self._max_waiting:
            return False
        waiting.append((command, pending))
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
        return True

    async def run(self) -> None:
        """Commit until cancelled."""
        while True:
            if not self._waiting:
                self._wake = asyncio.get_running_loop().create_future()
                await self._wake
                self._wake = None
            batch = self._waiting[:MAX_BATCH]
            del self._waiting[:MAX_BATCH]
            self._in_flight = len(batch)
            try:
                replies = await self._run([command for command, _ in batch])
            except StoreUnreachable as error:
                replies = [error] * len(batch)
            self._in_flight = 0
            self._note_errors(replies)
            for (_, pending), reply in zip(batch, replies, strict=True):
                try:
                    pending.on_reply(reply)
                except Exception:  # whatever it is, others wait for replies of the same pipeline
                    _log.exception("request not continued")

    async def drain(self, deadline: float) -> None:
        """Return when nothing waits or is in flight, or at this time of the loop's clock."""
        while len(self) and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - once, at the end
            await asyncio.sleep(DRAIN_STEP)

    @staticmethod
    def _note_errors(replies: list[Any]) -> None:
        errors = [reply for reply in replies if isinstance(reply, Exception)]
        if errors:
            _log.warning("redis commands failed", commands=len(errors), reason=str(errors[0]))
