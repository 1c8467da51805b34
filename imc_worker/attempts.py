"""Counters in Redis: how often each entry that was read again was tried.

A counter is increased before its attempt, so that an attempt that ends the process is counted. If an outage
interrupts the attempt, or it is unknown whether the counter was increased, the counter is set back as soon as
Redis is reachable. Counters are set to a number, not incremented: setting one twice does no harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from imc_common.store import Command, ReplyError, StoreUnreachable
from imc_common.store.protocols import CommandRunner

TTL_MS: Final = 3600 * 1000
"""How long attempts are kept: longer than a supervisor waits between two starts of a failing worker."""


class Attempts:
    """The counters of entries, by key."""

    def __init__(self, store: CommandRunner) -> None:
        self._store = store
        self._before: dict[str, int] = {}
        """Counters as `made` has read them."""
        self._corrections: dict[str, int] = {}
        """Values that counters should have and may not have yet; 0: to be deleted."""

    @property
    def untidy(self) -> bool:
        """Whether counters are still to be corrected or deleted."""
        return bool(self._corrections)

    async def made(self, counters: Sequence[str]) -> list[int | ReplyError]:
        """Attempts so far, or why Redis cannot tell now. Raises StoreUnreachable."""
        # First the corrections: an attempt that an outage interrupted must not count against its entry.
        await self.tidy()
        replies = await self._store.run([("GET", counter) for counter in counters])
        counts = [_number(reply) for reply in replies]
        self._before = {
            counter: count for counter, count in zip(counters, counts, strict=True) if isinstance(count, int)
        }
        return counts

    async def count(self, counters: Sequence[str]) -> list[int | ReplyError]:
        """Count one more attempt for each of these, which `made` has read; gives the counts, or why not.

        Raises StoreUnreachable: then the attempt must not be made, and is not counted.
        """
        counts = [self._before[counter] + 1 for counter in counters]
        writes: list[Command] = [
            ("SET", counter, count, "PX", TTL_MS) for counter, count in zip(counters, counts, strict=True)
        ]
        try:
            replies = await self._store.run(writes)
        except StoreUnreachable:
            # Whether Redis has counted is unknown. As no attempt is made, the number before is right.
            for counter in counters:
                self.take_back(counter)
            raise
        for counter, reply in zip(counters, replies, strict=True):
            if isinstance(reply, ReplyError):
                self.take_back(counter)
            # A correction of before would undo what was just counted.
            else:
                self._corrections.pop(counter, None)
        return [
            reply if isinstance(reply, ReplyError) else count
            for reply, count in zip(replies, counts, strict=True)
        ]

    def take_back(self, counter: str) -> None:
        """The attempt that was counted last does not count."""
        self._corrections[counter] = self._before[counter]

    def forget(self, counter: str) -> None:
        """The entry is handled: delete its counter."""
        self._corrections[counter] = 0

    async def tidy(self) -> None:
        """Write the corrections. Raises StoreUnreachable; what is not written is kept."""
        if not self._corrections:
            return
        corrections = list(self._corrections.items())
        replies = await self._store.run([_write(counter, count) for counter, count in corrections])
        for (counter, _), reply in zip(corrections, replies, strict=True):
            # An error that does not pass (a key of a wrong type) would be tried for ever.
            if not (isinstance(reply, ReplyError) and reply.transient):
                del self._corrections[counter]


def _write(counter: str, count: int) -> Command:
    # XX: another owner may have handled the entry meanwhile and deleted its counter
    return ("SET", counter, count, "XX", "PX", TTL_MS) if count else ("DEL", counter)


def _number(reply: object) -> int | ReplyError:
    if isinstance(reply, ReplyError) and reply.transient:
        return reply
    return int(reply) if isinstance(reply, bytes) and reply.isdigit() else 0
