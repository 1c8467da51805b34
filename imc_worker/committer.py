"""Runs the scripts for the entries that were read. An entry that fails delays only its own shard.

One pipeline is in flight at a time. What is read meanwhile goes into the next one (group commit): load makes
the batches, and nothing waits for a timer. Entries of one shard keep their order, because they go into the
same pipeline or into successive ones, and a script takes effect only on the first entry of its stream.

Every failure is handled in the same way: the shard's pending entries are dropped and read again after a
pause. Entries that are read again are counted and tried one by one (`retrial.py`). So an entry that always
fails, or ends the process, is found and moved to the dead letters.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import structlog

from imc_common.metrics import Metrics
from imc_common.rooms.request import call_id_of
from imc_common.shards.consumer import Batch, Consumer
from imc_common.store import ReplyError, StoreUnreachable
from imc_common.store.protocols import CommandRunner
from imc_common.tracer import Tracer
from imc_worker.automatic_answers import AutomaticAnswers
from imc_worker.dispatcher import Dispatcher, PendingEntry
from imc_worker.message_batches import leading_messages
from imc_worker.retrial import Retrial, Verdict

log = structlog.get_logger()

MAX_PIPELINE: Final = 256
"""Commands per pipeline: about 5 ms of Redis's time; a longer pipeline saves no more CPU."""

MAX_PENDING: Final = 2048
"""Entries that were read and are not handled; with more, reading pauses and the others wait in Redis."""

PAUSE_SECONDS = (0.2, 0.5)
"""Range of the pause after a failure of the server."""

DONE, EARLY = b"done", b"early"
HANDLED = frozenset((DONE, b"gone"))


class Committer:
    """Accepts batches in `put` and handles them in `run`.

    Entries are in one of four places, and their shard decides in which: `_new` (read for the first time),
    `_in_flight` (the pipeline that runs now), `_retried` (read again, the first of each shard is tried), and
    `_behind` (new entries of a shard that is in `_retried`: they wait, so that the shard keeps its order).
    """

    def __init__(  # noqa: PLR0917 # the parts it connects
        self,
        store: CommandRunner,
        dispatcher: Dispatcher,
        source: Consumer,
        retrial: Retrial,
        owned: Callable[[], frozenset[int]],
        automatic_answers: AutomaticAnswers,
        metrics: Metrics,
        tracer: Tracer,
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._source = source
        self._retrial = retrial
        self._owned = owned
        self._tracer = tracer
        self._automatic_answers = automatic_answers
        self._new: list[PendingEntry] = []
        self._in_flight: list[PendingEntry] = []
        self._retried: dict[int, deque[PendingEntry]] = {}
        self._behind: dict[int, list[PendingEntry]] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._space = asyncio.Event()
        self._idle.set()
        self._space.set()
        self._handled = metrics.counter("imc_worker_entries", "Entries of in-streams that were handled.")
        self._failures = metrics.counters("imc_worker_failures", "Attempts that failed, by cause.", "cause")

    def put(self, batch: Batch) -> None:
        """Accept entries; they are handled after all earlier ones of their shard."""
        shard = batch.shard
        entries = [(shard, entry_id, fields) for entry_id, fields in batch.entries]
        # Read again: something went wrong with the shard before, so its entries are tried one by one. Until
        # they are handled, new entries must not overtake them.
        if batch.again:
            self._retried.setdefault(shard, deque()).extend(entries)
        elif shard in self._retried:
            self._behind.setdefault(shard, []).extend(entries)
        else:
            self._new += entries
        self._wake.set()
        self._idle.clear()
        self._note_space()

    async def space(self) -> None:
        """Returns when there is space for more entries."""
        await self._space.wait()

    async def idle(self) -> None:
        """Returns when no entry is pending."""
        await self._idle.wait()

    def has_pending(self, shard: int) -> bool:
        """Whether entries of the shard were read and are not handled."""
        return shard in self._retried or any(e[0] == shard for e in (*self._in_flight, *self._new))

    async def run(self) -> None:
        """Handle entries until cancelled."""
        while True:
            await self._woken()
            self._wake.clear()
            # In turn, so that shards with failures do not hold up the others, nor wait for them.
            while self._new or self._retried:
                if self._retried:
                    await self._retry()
                if self._new:
                    await self._commit()
                self._note_space()
            self._idle.set()

    async def _woken(self) -> None:
        """Returns when entries were put; until then corrects the counters that an outage left wrong."""
        while self._retrial.untidy and not self._wake.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(PAUSE_SECONDS[0]):
                    await self._wake.wait()
            with suppress(StoreUnreachable):
                await self._retrial.tidy()
        await self._wake.wait()

    def _note_space(self) -> None:
        count = len(self._new)
        if self._retried:
            count += sum(map(len, self._retried.values())) + sum(map(len, self._behind.values()))
        if count < MAX_PENDING:
            self._space.set()
        else:
            self._space.clear()

    async def _commit(self) -> None:
        """Run one pipeline with the next new entries."""
        batch, self._new = self._new[:MAX_PIPELINE], self._new[MAX_PIPELINE:]
        # Entries of a shard whose lease was lost are skipped: its new owner reads them.
        owned = self._owned()
        self._in_flight = [entry for entry in batch if entry[0] in owned]
        results = await self._attempt(self._in_flight)
        if self._tracer.enabled:
            self._trace(self._in_flight, results)
        # Nearly always all are done; then no entry is looked at again.
        if results.count(DONE) == len(results):
            self._handled.value += len(results)
        else:
            self._settle_failures(results)
        self._in_flight = []

    def _trace(self, entries: list[PendingEntry], results: list[Any]) -> None:
        for (_, _, fields), result in zip(entries, results, strict=True):
            try:
                self._tracer.handled(fields, result)
            except Exception:  # whatever it is, the entry has been handled all the same
                log.exception("entry not traced", call_id=call_id_of(fields))

    def _settle_failures(self, results: list[Any]) -> None:
        failed: set[int] = set()
        for entry, result in zip(self._in_flight, results, strict=True):
            if result in HANDLED:
                self._handled.value += 1
            elif entry[0] not in failed:
                # The first failure of a shard is the cause. The results of the entries behind it say nothing:
                # their scripts return "early" only because it still exists.
                failed.add(entry[0])
                self._give_up(entry, result)

    async def _retry(self) -> None:
        """Try the first entry of each shard in `_retried`, counted in Redis before it is tried."""
        # Shards whose lease was lost: their new owner tries these entries, and counts the attempts.
        for shard in self._retried.keys() - self._owned():
            self._drop(shard)
        firsts = [entries[0] for entries in self._retried.values()]
        try:
            verdicts = await self._retrial.judge(firsts)
        except StoreUnreachable as error:
            # An attempt that is not counted must not be made: if it ended the process, nobody would know.
            for first in firsts:
                self._give_up(first, error)
            return
        trying = [first for first, verdict in zip(firsts, verdicts, strict=True) if verdict == "try"]
        attempted = await self._attempt(trying)
        if self._tracer.enabled:
            self._trace(trying, attempted)
        results = iter(attempted)
        for first, verdict in zip(firsts, verdicts, strict=True):
            if verdict != "wait":
                self._settle_retried(first, verdict, next(results) if verdict == "try" else None)
        with suppress(StoreUnreachable):
            await self._retrial.tidy()

    def _settle_retried(self, entry: PendingEntry, verdict: Verdict, result: Any) -> None:
        # Handled now, or a dead letter: the shard goes on with its next entry.
        if verdict == "dead" or result in HANDLED:
            self._handled.value += 1
            self._retrial.passed(entry)
            self._advance(entry[0])
            return
        # An attempt that failed because of the server, or because an older entry exists, says nothing about
        # the entry: the count is taken back.
        if verdict == "try" and (result == EARLY or _is_fault_of_server(result)):
            self._retrial.absolve(entry)
        # Otherwise the entry is to blame, or Redis refused to count the attempt (the verdict is that error).
        self._give_up(entry, result if verdict == "try" else verdict)

    def _advance(self, shard: int) -> None:
        entries = self._retried[shard]
        entries.popleft()
        if not entries:  # the shard has no suspect entries left: its new ones are handled in batches again
            del self._retried[shard]
            self._new += self._behind.pop(shard, ())

    async def _attempt(self, entries: list[PendingEntry]) -> list[Any]:
        """The result of each entry: the reply of its script, or an exception."""
        try:
            return await self._attempt_together(entries)
        except Exception as error:  # whatever it is, it must not end the process
            if len(entries) <= 1:
                return [error for _ in entries]
            # One of them is the reason. The scripts of the others may have run: then their entries are gone.
            log.warning("entries are handled one by one", reason=f"{type(error).__name__}: {error}")
            return [(await self._attempt([entry]))[0] for entry in entries]

    async def _attempt_together(self, entries: list[PendingEntry]) -> list[Any]:
        results: list[Any] = [None] * len(entries)
        try:
            # Plain messages at the head of their shards go first, many to a script. What these scripts leave
            # (a message that is refused, say) and everything behind it gets scripts of its own.
            answers = self._automatic_answers.among(entries)
            if scripts := leading_messages(entries, answers, spans_shards=self._dispatcher.spans_shards):
                await self._broadcast(entries, scripts, results)
            left = [at for at, result in enumerate(results) if result is None]
            outcomes = await self._dispatcher.commands([entries[at] for at in left], answers)
            replies = iter(await self._store.run([each for each in outcomes if isinstance(each, tuple)]))
        except StoreUnreachable as error:
            # Scripts may have run although their replies are lost. Read again, their entries are gone.
            return [error if result is None else result for result in results]
        for at, outcome in zip(left, outcomes, strict=True):
            results[at] = next(replies) if isinstance(outcome, tuple) else outcome
        return results

    async def _broadcast(
        self, entries: list[PendingEntry], scripts: list[list[list[int]]], results: list[Any]
    ) -> None:
        """Handle plain messages, given for each script as places in `entries`; fills the results of those
        handled.

        Raises StoreUnreachable.
        """
        commands = [
            self._dispatcher.messages([[entries[at] for at in batch] for batch in script])
            for script in scripts
        ]
        for script, reply in zip(scripts, await self._store.run(commands), strict=True):
            if isinstance(reply, Exception):
                # The script failed as a whole and changed nothing. An error that one entry causes shows again
                # when that entry is handled alone.
                if not _is_fault_of_server(reply):
                    log.warning("messages are handled one by one", reason=str(reply))
                continue
            for batch, handled in zip(script, reply, strict=True):
                for at in batch[:handled]:
                    results[at] = DONE

    def _drop(self, shard: int) -> None:
        self._retried.pop(shard, None)
        self._behind.pop(shard, None)
        self._new = [entry for entry in self._new if entry[0] != shard]

    def _give_up(self, entry: PendingEntry, result: object) -> None:
        """Drop the pending entries of the entry's shard and have them read again."""
        shard, entry_id, fields = entry
        self._drop(shard)
        if result == EARLY:
            # An older entry exists that this process does not know: read the stream from its first entry,
            # now.
            self._failures["early"] += 1
            self._source.resync(shard)
        elif _is_fault_of_server(result):
            # With jitter, so that workers do not all return at once.
            self._failures["redis"] += 1
            log.warning("entries wait for redis", shard=shard, reason=str(result))
            self._source.resync(shard, random.uniform(*PAUSE_SECONDS))  # noqa: S311 # jitter
        else:
            self._failures["entry"] += 1
            reason = f"{type(result).__name__}: {result}" if isinstance(result, Exception) else repr(result)
            log.error("entry failed", shard=shard, entry=entry_id, reason=reason, call_id=call_id_of(fields))
            self._source.resync(shard, self._retrial.blame(entry, reason))


def _is_fault_of_server(result: object) -> bool:
    """Whether waiting helps: Redis is unreachable, or refuses for now (full, loading, busy)."""
    return isinstance(result, StoreUnreachable) or (isinstance(result, ReplyError) and result.transient)
