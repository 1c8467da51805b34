"""Entries that come again: each attempt is counted in Redis before it is made, and too many end in `dead`.

The count is made before anything else looks at the entry, so it also finds entries that end the process. The
first such attempt is shared by entries of several shards, which all are suspects if the process ends in it; a
suspect is tried alone, so that none is buried for what another one did.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import structlog

from imc_common import keys
from imc_common.rooms.request import call_id_of
from imc_common.store import Command, ReplyError
from imc_common.store.protocols import ScriptRunner
from imc_worker.attempts import Attempts
from imc_worker.dispatcher import Handed

log = structlog.get_logger()

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds between attempts

LEAST_ATTEMPTS = 3  # the first handling, one shared attempt, and one alone, which proves the guilt

Verdict = Literal["try", "wait", "buried"] | ReplyError


class Retrial:
    """Counts attempts and buries. An entry's first, failed handling counts as one that has been made."""

    def __init__(self, store: ScriptRunner, max_attempts: int, wall_clock: Callable[[], float]) -> None:
        self._store = store
        self._max_attempts = max(max_attempts, LEAST_ATTEMPTS)
        self._suspects_turn = False
        self._wall_clock = wall_clock
        self._attempts = Attempts(store)
        self._reasons: dict[bytes, str] = {}
        self._pauses: dict[bytes, float] = {}

    async def judge(self, entries: Sequence[Handed]) -> list[Verdict]:
        """Choose which of the entries may be tried now, count that, and bury those that had enough.

        Raises StoreUnreachable.
        """
        counters = [_counter(entry) for entry in entries]
        known = await self._attempts.made(counters)
        verdicts: list[Verdict] = [n if isinstance(n, ReplyError) else "wait" for n in known]
        counted = [(at, n) for at, n in enumerate(known) if isinstance(n, int)]
        chosen = self._choose(counted)
        counts = await self._attempts.count([counters[at] for at in chosen])
        for at, count in zip(chosen, counts, strict=True):
            verdicts[at] = self._verdict(count)
        await self._bury_doomed(entries, verdicts)
        return verdicts

    def _choose(self, counts: list[tuple[int, int]]) -> list[int]:
        """Places: all that were never tried again yet, or else one suspect; in turns if there are both."""
        untried = [at for at, count in counts if not count]
        suspects = [(count, at) for at, count in counts if count]
        self._suspects_turn = not self._suspects_turn
        if suspects and (self._suspects_turn or not untried):
            return [min(suspects)[1]]
        return untried

    async def _bury_doomed(self, entries: Sequence[Handed], verdicts: list[Verdict]) -> None:
        doomed = [at for at, verdict in enumerate(verdicts) if verdict == "buried"]
        replies = await self._store.run([self._bury(entries[at]) for at in doomed])
        for at, reply in zip(doomed, replies, strict=True):
            if isinstance(reply, ReplyError):
                verdicts[at] = reply

    @property
    def untidy(self) -> bool:
        """Whether there is something to `tidy`."""
        return self._attempts.untidy

    async def tidy(self) -> None:
        """Do now what nobody waits for. Raises StoreUnreachable; what is not done is kept."""
        await self._attempts.tidy()

    def passed(self, entry: Handed) -> None:
        """The entry is handled: forget its attempts."""
        self._attempts.forget(_counter(entry))
        self._reasons.pop(entry[1], None)
        self._pauses.pop(entry[1], None)

    def absolve(self, entry: Handed) -> None:
        """The attempt failed through no fault of the entry: it does not count."""
        self._attempts.take_back(_counter(entry))

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
        shard, entry_id, fields = entry
        reason = self._reasons.get(entry_id, f"handed out {self._max_attempts} times, and never an end of it")
        stream, call_id = keys.requests(shard), call_id_of(fields)
        log.error("entry buried", stream=stream, entry=entry_id, reason=reason, call_id=call_id)
        at = int(self._wall_clock() * 1000)
        return self._store.script("move_to_dead_letters", [stream, keys.dead(shard)], [entry_id, reason, at])


def _counter(entry: Handed) -> str:
    shard, entry_id, _ = entry
    return keys.attempts(shard, "in", entry_id.decode())
