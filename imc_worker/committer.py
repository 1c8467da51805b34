"""Runs the scripts for what was read, and sees to it that an entry that fails holds up its own shard only.

One pipeline is in the air at a time; all that is read meanwhile goes into the next (group commit), so load
makes the batches and nothing waits for a timer. Entries of one shard keep their order: they go in one
pipeline or in successive ones, and a script takes effect only on the first entry of its stream.

What goes wrong ends in the same way, whatever it was: the shard's entries in hand are dropped and read
again, after a pause. Entries that come again are counted and tried one by one (`retrial.py`), so
that one that always fails, or ends the process, is found and buried.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog

from imc_common.metrics import Metrics
from imc_common.rooms.request import call_id_of
from imc_common.shards.consumer import Batch, Consumer
from imc_common.store import ReplyError, StoreUnreachable
from imc_common.store.protocols import CommandRunner
from imc_common.tracer import Tracer
from imc_worker.dispatcher import Dispatcher, Handed
from imc_worker.message_batches import leading_messages
from imc_worker.retrial import Retrial

log = structlog.get_logger()

MOST_IN_PIPELINE = 256
"""Commands of one pipeline: about 5 ms of Redis's time, and a longer one saves no more CPU."""

MOST_IN_HAND = 2048
"""Entries read and not yet handled; reading pauses there, the rest waits in Redis."""

PAUSE_SECONDS = (0.2, 0.5)
"""Range of the pause after a failure that lies with the server."""

DONE, EARLY = b"done", b"early"
HANDLED = frozenset((DONE, b"gone"))


class Committer:
    """Takes batches by `put` and handles them in `run`."""

    def __init__(  # noqa: PLR0917 # the parts it stands between
        self,
        store: CommandRunner,
        dispatcher: Dispatcher,
        source: Consumer,
        retrial: Retrial,
        owned: Callable[[], frozenset[int]],
        metrics: Metrics,
        tracer: Tracer,
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._source = source
        self._retrial = retrial
        self._owned = owned
        self._tracer = tracer
        self._fresh: list[Handed] = []
        self._flying: list[Handed] = []
        self._again: dict[int, deque[Handed]] = {}
        self._behind: dict[int, list[Handed]] = {}  # new entries of the shards in _again
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._space = asyncio.Event()
        self._idle.set()
        self._space.set()
        self._handled = metrics.counter("imc_worker_entries", "Entries of in-streams that were handled.")
        self._failures = metrics.counters("imc_worker_failures", "Attempts that failed, by cause.", "cause")

    def put(self, batch: Batch) -> None:
        """Hand in entries; they are handled after all that was handed in of their shard before."""
        shard = batch.shard
        entries = [(shard, entry_id, fields) for entry_id, fields in batch.entries]
        if batch.again:
            self._again.setdefault(shard, deque()).extend(entries)
        elif shard in self._again:
            self._behind.setdefault(shard, []).extend(entries)
        else:
            self._fresh += entries
        self._wake.set()
        self._idle.clear()
        self._note_space()

    async def space(self) -> None:
        """Returns when there is room for more entries."""
        await self._space.wait()

    async def idle(self) -> None:
        """Returns when nothing is in hand."""
        await self._idle.wait()

    def in_hand(self, shard: int) -> bool:
        """Whether entries of the shard are waiting or in the air."""
        return shard in self._again or any(e[0] == shard for e in (*self._flying, *self._fresh))

    async def run(self) -> None:
        """Handle what is handed in until cancelled."""
        while True:
            await self._woken()
            self._wake.clear()
            while self._fresh or self._again:
                if self._again:
                    await self._try_again()
                if self._fresh:
                    await self._commit()
                self._note_space()
            self._idle.set()

    async def _woken(self) -> None:
        """Returns when something was handed in; meanwhile puts right what an outage has left behind."""
        while self._retrial.untidy and not self._wake.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), PAUSE_SECONDS[0])
            with suppress(StoreUnreachable):
                await self._retrial.tidy()
        await self._wake.wait()

    def _note_space(self) -> None:
        count = len(self._fresh)
        if self._again:
            count += sum(map(len, self._again.values())) + sum(map(len, self._behind.values()))
        if count < MOST_IN_HAND:
            self._space.set()
        else:
            self._space.clear()

    async def _commit(self) -> None:
        """The next entries in one pipeline; whoever owns a lost shard now reads its entries again."""
        batch, self._fresh = self._fresh[:MOST_IN_PIPELINE], self._fresh[MOST_IN_PIPELINE:]
        owned = self._owned()
        self._flying = [entry for entry in batch if entry[0] in owned]
        results = await self._attempt(self._flying)
        if self._tracer.enabled:
            self._note(self._flying, results)
        if results.count(DONE) == len(results):
            self._handled.value += len(results)
        else:
            self._sort_out(results)
        self._flying = []

    def _note(self, entries: list[Handed], results: list[Any]) -> None:
        for (_, _, fields), result in zip(entries, results, strict=True):
            self._tracer.handled(fields, result)

    def _sort_out(self, results: list[Any]) -> None:
        stuck: set[int] = set()
        for entry, result in zip(self._flying, results, strict=True):
            if result in HANDLED:
                self._handled.value += 1
            elif entry[0] not in stuck:  # those behind it are "early" only because of it
                stuck.add(entry[0])
                self._give_up(entry, result)

    async def _try_again(self) -> None:
        """The first entry of each shard whose entries have come again, counted before it is tried."""
        for shard in self._again.keys() - self._owned():
            self._drop(shard)
        heads = [entries[0] for entries in self._again.values()]
        try:
            verdicts = await self._retrial.judge(heads)
        except StoreUnreachable as error:
            for head in heads:
                self._give_up(head, error)
            return
        trying = [head for head, verdict in zip(heads, verdicts, strict=True) if verdict == "try"]
        attempted = await self._attempt(trying)
        if self._tracer.enabled:
            self._note(trying, attempted)
        results = iter(attempted)
        for head, verdict in zip(heads, verdicts, strict=True):
            if verdict == "wait":
                continue
            result = next(results) if verdict == "try" else DONE if verdict == "buried" else verdict
            if result in HANDLED:
                self._handled.value += 1
                self._retrial.passed(head)
                self._advance(head[0])
                continue
            if verdict == "try" and (result == EARLY or _is_servers_fault(result)):
                self._retrial.absolve(head)
            self._give_up(head, result)
        with suppress(StoreUnreachable):
            await self._retrial.tidy()

    def _advance(self, shard: int) -> None:
        entries = self._again[shard]
        entries.popleft()
        if not entries:  # the shard is trusted again
            del self._again[shard]
            self._fresh += self._behind.pop(shard, ())

    async def _attempt(self, entries: list[Handed]) -> list[Any]:
        """What became of each entry: a script's reply, or an exception."""
        results: list[Any] = [None] * len(entries)
        try:
            if runs := leading_messages(entries):
                await self._broadcast(entries, runs, results)
            left = [at for at, result in enumerate(results) if result is None]
            outcomes = await self._dispatcher.commands([entries[at] for at in left])
            replies = iter(await self._store.run([each for each in outcomes if isinstance(each, tuple)]))
        except StoreUnreachable as error:
            return [error if result is None else result for result in results]
        for at, outcome in zip(left, outcomes, strict=True):
            results[at] = next(replies) if isinstance(outcome, tuple) else outcome
        return results

    async def _broadcast(self, entries: list[Handed], runs: list[list[int]], results: list[Any]) -> None:
        """Handle plain messages many at a time; those that take more than that are left as they are.

        Raises StoreUnreachable.
        """
        commands = [self._dispatcher.messages([entries[at] for at in run]) for run in runs]
        replies = iter(await self._store.run([command for command in commands if command is not None]))
        for run, command in zip(runs, commands, strict=True):
            reply = 0 if command is None else next(replies)
            if isinstance(reply, Exception):  # one of an entry comes again with that entry alone
                if not _is_servers_fault(reply):
                    log.warning("messages are handled one by one", reason=str(reply))
                reply = 0
            for at in run[:reply]:
                results[at] = DONE

    def _drop(self, shard: int) -> None:
        self._again.pop(shard, None)
        self._behind.pop(shard, None)
        self._fresh = [entry for entry in self._fresh if entry[0] != shard]

    def _give_up(self, entry: Handed, result: object) -> None:
        """Drop what is in hand of the entry's shard and have it read again."""
        shard, entry_id, fields = entry
        self._drop(shard)
        if result == EARLY:
            self._failures["early"] += 1
            self._source.resync(shard)
        elif _is_servers_fault(result):
            self._failures["redis"] += 1
            log.warning("entries wait for Redis", shard=shard, reason=str(result))
            self._source.resync(shard, random.uniform(*PAUSE_SECONDS))  # noqa: S311 # jitter
        else:
            self._failures["entry"] += 1
            reason = f"{type(result).__name__}: {result}" if isinstance(result, Exception) else repr(result)
            call_id = call_id_of(fields)
            log.error(
                "an entry cannot be handled", shard=shard, entry=entry_id, reason=reason, call_id=call_id
            )
            self._source.resync(shard, self._retrial.blame(entry, reason))


def _is_servers_fault(result: object) -> bool:
    return isinstance(result, StoreUnreachable) or (isinstance(result, ReplyError) and result.transient)
