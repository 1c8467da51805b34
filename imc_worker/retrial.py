"""Entries that are read again: each attempt is counted in Redis before it is made. After `max_attempts` the
entry becomes a dead letter.

The attempt is counted before anything else looks at the entry, so an entry that ends the process is found
too. An entry is tried in three stages:

1. Its first handling, together with many others. It is not counted; the entry is read again only if it
   failed.
2. The first counted attempt, together with the first entries of other shards. If the process ends in it, all
   of them are suspects.
3. All further attempts, alone. So no entry becomes a dead letter for the fault of another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal

import structlog

from imc_common import keys
from imc_common.rooms.request import call_id_of
from imc_common.store import Command, ReplyError
from imc_common.store.protocols import ScriptRunner
from imc_worker.attempts import Attempts
from imc_worker.dispatcher import PendingEntry

log = structlog.get_logger()

FIRST_PAUSE, MAX_PAUSE = 0.1, 5.0  # seconds between attempts

MIN_ATTEMPTS: Final = 3
"""One for each of the three stages: only an attempt alone shows that the entry is to blame."""

MAX_BLAMED = 1000
"""Failed entries whose reason and pause are known. With more, all are forgotten: those of lost shards stay
otherwise."""

Verdict = Literal["try", "wait", "dead"] | ReplyError
"""What to do with an entry now: try it, leave it for later, nothing (it is a dead letter), or why Redis did
not count the attempt."""


class Retrial:
    """Counts attempts and moves entries to the dead letters. The first, failed handling counts as one
    attempt."""

    def __init__(self, store: ScriptRunner, max_attempts: int, wall_clock: Callable[[], float]) -> None:
        self._store = store
        self._max_attempts = max(max_attempts, MIN_ATTEMPTS)
        self._is_turn_of_suspects = False
        self._wall_clock = wall_clock
        self._attempts = Attempts(store)
        self._reasons: dict[bytes, str] = {}
        self._pauses: dict[bytes, float] = {}

    async def judge(self, entries: Sequence[PendingEntry]) -> list[Verdict]:
        """Choose the entries to try now, count the attempt, and move those that had enough to the dead
        letters.

        Raises StoreUnreachable.
        """
        # What Redis cannot tell now is an error for its shard only. The others go on.
        counters = [_counter(entry) for entry in entries]
        known = await self._attempts.made(counters)
        verdicts: list[Verdict] = [n if isinstance(n, ReplyError) else "wait" for n in known]
        counted = [(at, n) for at, n in enumerate(known) if isinstance(n, int)]
        # Counted before the attempt: a count that came after it would miss the attempt that ends the process.
        chosen = self._choose(counted)
        counts = await self._attempts.count([counters[at] for at in chosen])
        for at, count in zip(chosen, counts, strict=True):
            verdicts[at] = self._verdict(count)
        await self._move_to_dead_letters(entries, verdicts)
        return verdicts

    def _choose(self, counts: list[tuple[int, int]]) -> list[int]:
        """Places of the entries to try: all without a counted attempt, or else one suspect."""
        uncounted = [at for at, count in counts if not count]
        suspects = [(count, at) for at, count in counts if count]
        # If there are both, they take turns: suspects must not keep other shards waiting, nor wait forever.
        self._is_turn_of_suspects = not self._is_turn_of_suspects
        if suspects and (self._is_turn_of_suspects or not uncounted):
            # The one with the fewest attempts, alone: if the process ends now, that one is to blame.
            return [min(suspects)[1]]
        return uncounted

    async def _move_to_dead_letters(self, entries: Sequence[PendingEntry], verdicts: list[Verdict]) -> None:
        dead = [at for at, verdict in enumerate(verdicts) if verdict == "dead"]
        replies = await self._store.run([self._dead_letter(entries[at]) for at in dead])
        for at, reply in zip(dead, replies, strict=True):
            if isinstance(reply, ReplyError):
                verdicts[at] = reply

    @property
    def untidy(self) -> bool:
        """Whether there is something to `tidy`."""
        return self._attempts.untidy

    async def tidy(self) -> None:
        """Correct counters. Raises StoreUnreachable; what is not done is kept for the next time."""
        await self._attempts.tidy()

    def passed(self, entry: PendingEntry) -> None:
        """The entry is handled: forget its attempts."""
        self._attempts.forget(_counter(entry))
        self._reasons.pop(entry[1], None)
        self._pauses.pop(entry[1], None)

    def absolve(self, entry: PendingEntry) -> None:
        """The entry did not cause the failure: the attempt does not count."""
        self._attempts.take_back(_counter(entry))

    def blame(self, entry: PendingEntry, reason: str) -> float:
        """Note why the entry failed; gives the seconds to wait before the next attempt."""
        entry_id = entry[1]
        if len(self._pauses) >= MAX_BLAMED and entry_id not in self._pauses:
            self._pauses.clear()
            self._reasons.clear()
        # Doubled each time. The cause may pass, as a limit of the server does, and the shard waits meanwhile.
        pause = self._pauses.get(entry_id, FIRST_PAUSE)
        self._pauses[entry_id] = min(pause * 2, MAX_PAUSE)
        self._reasons[entry_id] = reason
        return pause

    def _verdict(self, count: int | ReplyError) -> Verdict:
        if isinstance(count, int):
            return "dead" if count >= self._max_attempts else "try"
        # A full Redis refuses to count, but runs the entry's script, which frees memory. Any other error that
        # does not pass by waiting concerns the counter alone and is no reason to keep the entry.
        return count if count.transient and count.code != "OOM" else "try"

    def _dead_letter(self, entry: PendingEntry) -> Command:
        shard, entry_id, fields = entry
        reason = self._reasons.get(
            entry_id, f"read {self._max_attempts} times, and the process ended each time"
        )
        stream, call_id = keys.requests(shard), call_id_of(fields)
        log.error(
            "entry moved to dead letters", stream=stream, entry=entry_id, reason=reason, call_id=call_id
        )
        at = int(self._wall_clock() * 1000)
        return self._store.script("move_to_dead_letters", [stream, keys.dead(shard)], [entry_id, reason, at])


def _counter(entry: PendingEntry) -> str:
    shard, entry_id, _ = entry
    return keys.attempts(shard, "in", entry_id.decode())
