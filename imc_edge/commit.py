"""Group commit: many requests into Redis with one round trip, and only then their answers.

While one pipeline is in the air, what arrives is gathered for the next. So load makes the batches, a lone
request waits for nobody, and no timer is involved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import structlog

from imc_common.store import Command, Store, StoreUnreachable
from imc_edge.accept_batch import AcceptBatch

MAX_BATCH = 512
"""Requests per pipeline: bounds the time until the first of them is answered."""
DRAIN_STEP = 0.01

_log = structlog.get_logger()

Ticket = TypeVar("Ticket")


class GroupCommit(Generic[Ticket]):
    """Commands with a ticket each; the tickets come back with the commands' replies, in order."""

    def __init__(
        self,
        store: Store,
        max_waiting: int,
        settle: Callable[[Ticket, Any], None],
        *,
        durable: bool = True,
    ) -> None:
        """``settle(ticket, reply)`` must not raise; it may be an error. ``durable``: see `Store.run`."""
        self._store = store
        self._durable = durable
        self._max_waiting = max_waiting
        self._settle = settle
        self._accepts = AcceptBatch(store.scripts)
        self._waiting: list[tuple[Command, Ticket]] = []
        self._in_air = 0
        self._wake: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        """How many wait or are in the air."""
        return len(self._waiting) + self._in_air

    def submit(self, command: Command, ticket: Ticket) -> bool:
        """Take one for the next pipeline; False when too many wait already."""
        waiting = self._waiting
        if len(waiting) >= self._max_waiting:
            return False
        waiting.append((command, ticket))
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
            self._in_air = len(batch)
            commands, places = self._accepts.merge([command for command, _ in batch])
            try:
                replies = await self._store.run(commands, durable=self._durable)
            except StoreUnreachable as error:
                replies = [error] * len(commands)
            replies = self._accepts.spread(replies, places)
            self._in_air = 0
            self._note_errors(replies)
            for (_, ticket), reply in zip(batch, replies, strict=True):
                self._settle(ticket, reply)

    async def drain(self, deadline: float) -> None:
        """Return when nothing waits or is in the air, or at this time of the loop's clock."""
        while len(self) and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - once, at the end
            await asyncio.sleep(DRAIN_STEP)

    @staticmethod
    def _note_errors(replies: list[Any]) -> None:
        errors = [reply for reply in replies if isinstance(reply, Exception)]
        if errors:
            _log.warning("requests did not get into redis", requests=len(errors), reason=errors[0])
