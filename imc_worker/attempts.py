"""How often each entry that came again was tried, in Redis: an outage in the middle of an attempt is not one.

A count goes up before its attempt, so that the end of the process is counted. If an outage cuts the attempt
off instead, or nobody knows whether the count went up, it is put back as soon as Redis is there again. Counts
are written as numbers and not as steps: writing one twice does no harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from imc_common.store import Command, ReplyError, StoreUnreachable
from imc_common.store.protocols import CommandRunner

TTL_MS: Final = 3600 * 1000
"""How long attempts are remembered: longer than a supervisor's pause between two starts of a dying worker."""


class Attempts:
    """The counters of entries, by key."""

    def __init__(self, store: CommandRunner) -> None:
        self._store = store
        self._before: dict[str, int] = {}
        self._left: dict[str, int] = {}
        """What counters should say, and perhaps do not yet; 0: gone."""

    @property
    def untidy(self) -> bool:
        """Whether counters are to be put back or removed still."""
        return bool(self._left)

    async def made(self, counters: Sequence[str]) -> list[int | ReplyError]:
        """Attempts so far, or why they cannot be told now. Raises StoreUnreachable."""
        await self.tidy()
        replies = await self._store.run([("GET", counter) for counter in counters])
        counts = [_number(reply) for reply in replies]
        self._before = {
            counter: count for counter, count in zip(counters, counts, strict=True) if isinstance(count, int)
        }
        return counts

    async def count(self, counters: Sequence[str]) -> list[int | ReplyError]:
        """One attempt more for each of these, which `made` has told of; the counts, or what was refused.

        Raises StoreUnreachable; then the attempt is not to be made, and is not counted.
        """
        counts = [self._before[counter] + 1 for counter in counters]
        writes: list[Command] = [
            ("SET", counter, count, "PX", TTL_MS) for counter, count in zip(counters, counts, strict=True)
        ]
        try:
            replies = await self._store.run(writes)
        except StoreUnreachable:
            for counter in counters:
                self.take_back(counter)
            raise
        for counter, reply in zip(counters, replies, strict=True):
            if isinstance(reply, ReplyError):
                self.take_back(counter)
            else:
                self._left.pop(counter, None)
        return [
            reply if isinstance(reply, ReplyError) else count
            for reply, count in zip(replies, counts, strict=True)
        ]

    def take_back(self, counter: str) -> None:
        """The attempt that was counted last was none."""
        self._left[counter] = self._before[counter]

    def forget(self, counter: str) -> None:
        """The entry is gone."""
        self._left[counter] = 0

    async def tidy(self) -> None:
        """Write what counters should say. Raises StoreUnreachable; what is not done is kept."""
        if not self._left:
            return
        left = list(self._left.items())
        replies = await self._store.run([_write(counter, count) for counter, count in left])
        for (counter, _), reply in zip(left, replies, strict=True):
            if not (isinstance(reply, ReplyError) and reply.transient):
                del self._left[counter]


def _write(counter: str, count: int) -> Command:
    # XX: another owner may have handled the entry meanwhile, and removed its counter
    return ("SET", counter, count, "XX", "PX", TTL_MS) if count else ("DEL", counter)


def _number(reply: object) -> int | ReplyError:
    if isinstance(reply, ReplyError) and reply.transient:
        return reply
    return int(reply) if isinstance(reply, bytes) and reply.isdigit() else 0
