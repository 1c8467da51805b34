"""Entries that come again: each attempt is counted in Redis before it is made, and too many end in `dead`.

The count is made before anything else looks at the entry, so it also finds entries that end the process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import structlog

from imc_common import keys
from imc_common.store import Command, ReplyError
from imc_worker.dispatcher import Handed

log = structlog.get_logger()

ATTEMPTS_TTL_MS = 3600 * 1000
"""How long attempts are remembered: longer than a supervisor's pause between two starts of a dying worker."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds between attempts

Verdict = Literal["try", "buried"] | ReplyError


class Scripted(Protocol):
    """The part of a store that retrials need."""

    def script(self, name: str, keys: list[str], args: list[str | bytes | int]) -> Command: ...

    async def run(self, commands: Sequence[Command]) -> list[Any]: ...


class Retrial:
    """Counts attempts and buries. An entry's first, failed handling counts as one that has been made."""

    def __init__(self, store: Scripted, max_attempts: int, wall_clock: Callable[[], float]) -> None:
        self._store = store
        self._max_attempts = max_attempts
        self._wall_clock = wall_clock
        self._chores: list[Command] = []
        self._lost: list[str] = []
        self._reasons: dict[bytes, str] = {}
        self._pauses: dict[bytes, float] = {}

    async def judge(self, entries: Sequence[Handed]) -> list[Verdict]:
        """Count one more attempt of each entry and bury those that had enough. Raises StoreUnreachable."""
        counting: list[Command] = []
        for shard, entry_id, _ in entries:
            key = keys.attempts(shard, entry_id.decode())
            counting += (("INCR", key), ("PEXPIRE", key, ATTEMPTS_TTL_MS))
        replies = await self._store.run(counting)
        verdicts: list[Verdict] = [self._verdict(count) for count in replies[::2]]
        doomed = [at for at, verdict in enumerate(verdicts) if verdict == "buried"]
        if doomed:
            buried = await self._store.run([self._bury(entries[at]) for at in doomed])
            for at, reply in zip(doomed, buried, strict=True):
                if isinstance(reply, ReplyError):
                    verdicts[at] = reply
                else:
                    self.passed(entries[at])
        return verdicts

    async def tidy(self) -> None:
        """Do now what nobody waits for. Raises StoreUnreachable."""
        lost, self._lost = self._lost, []
        if lost:
            firsts = await self._store.run([("XRANGE", stream, "-", "+", "COUNT", 1) for stream in lost])
            self._chores += [
                ("XCLAIM", stream, keys.GROUP, keys.CONSUMER, 0, first[0][0], "FORCE", "JUSTID")
                for stream, first in zip(lost, firsts, strict=True)
                if isinstance(first, list) and first
            ]
        chores, self._chores = self._chores, []
        if chores:
            await self._store.run(chores)

    def passed(self, entry: Handed) -> None:
        """The entry is handled: forget its attempts."""
        shard, entry_id, _ = entry
        self._chores.append(("DEL", keys.attempts(shard, entry_id.decode())))
        self._reasons.pop(entry_id, None)
        self._pauses.pop(entry_id, None)

    def absolve(self, entry: Handed) -> None:
        """The attempt failed through no fault of the entry: it does not count."""
        shard, entry_id, _ = entry
        self._chores.append(("DECR", keys.attempts(shard, entry_id.decode())))

    def claim_first(self, shard: int) -> None:
        """The shard's first entry is not pending though later ones are: somebody acknowledged it by hand.

        Make it pending, or nothing of the shard would ever be handled again.
        """
        stream = keys.requests(shard)
        log.critical("a stream's first entry was acknowledged but not handled: taking it back", stream=stream)
        self._lost.append(stream)

    def blame(self, entry: Handed, reason: str) -> float:
        """Note why the entry failed; gives the seconds to wait before it is tried again."""
        entry_id = entry[1]
        pause = self._pauses.get(entry_id, FIRST_PAUSE)
        self._pauses[entry_id] = min(pause * 2, LONGEST_PAUSE)
        self._reasons[entry_id] = reason
        return pause

    def _verdict(self, count: int | ReplyError) -> Verdict:
        if isinstance(count, int):
            return "buried" if count >= self._max_attempts else "try"
        # a full Redis refuses to count, but takes the entry's script, which frees memory; any other error
        # that waiting does not mend is the counter's own, and no reason to keep the entry
        return count if count.transient and count.code != "OOM" else "try"

    def _bury(self, entry: Handed) -> Command:
        shard, entry_id, _ = entry
        reason = self._reasons.get(entry_id, f"handed out {self._max_attempts} times, and never an end of it")
        log.error("entry buried", stream=keys.requests(shard), entry=entry_id, reason=reason)
        at = int(self._wall_clock() * 1000)
        return self._store.script("bury", [keys.requests(shard), keys.dead(shard)], [entry_id, reason, at])
