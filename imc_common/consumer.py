"""Reading the streams of the owned shards: what is pending first, then what is new, in each shard's order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from imc_common import keys
from imc_common.store import Command, Entry, ReplyError, StoreUnreachable

log = structlog.get_logger()

LOST = frozenset(("NOGROUP", "UNBLOCKED"))  # the latter if it happens while a read waits
NEW = ">"
FROM_THE_START = "0"
UNREACHABLE_SECONDS = 0.25
GROUP_SECONDS = 1.0  # between two attempts to make missing groups


class Readable(Protocol):
    """The part of a store that a consumer needs."""

    def script(self, name: str, keys: list[str], args: list[str | bytes | int]) -> Command: ...

    async def run(self, commands: list[Command]) -> list[Any]: ...

    async def read_group(
        self, streams: Sequence[str], start: Sequence[str], count: int, block_ms: int | None
    ) -> list[tuple[str, list[Entry] | None]]: ...


class Owner(Protocol):
    """The part of an ownership that a consumer needs."""

    being_read: Callable[[int], bool]
    on_taken: Callable[[int], None]

    def owned(self) -> frozenset[int]: ...

    def taking(self) -> frozenset[int]: ...


@dataclass(slots=True)
class Batch:
    """Entries of one shard, in order. `again`: they were handed out before, to this or another process."""

    shard: int
    entries: list[tuple[bytes, list[bytes]]]
    again: bool


class Consumer:
    """Reads one stream of each owned shard.

    A shard that is new to this process, or given to `resync`, is read from its first pending entry on, in
    pages, before anything new of it. `block_ms` bounds how long a newly owned shard waits for its first read.
    """

    def __init__(
        self, store: Readable, ownership: Owner, stream: Callable[[int], str], count: int, block_ms: int
    ) -> None:
        self._store = store
        self._ownership = ownership
        self._stream = stream
        self._count = count
        self._block_ms = block_ms
        self._next: dict[int, str] = {}  # shard -> id to read after, or NEW
        self._held_back: dict[int, float] = {}  # shard -> loop time before which it is not read
        self._in_read: frozenset[int] = frozenset()
        self._void: set[int] = set()  # shards of the read in the air whose entries will come again
        self._reads = True
        self._groups_tried = 0.0
        ownership.being_read = lambda shard: shard in self._in_read
        ownership.on_taken = self._taken

    def resync(self, shard: int, delay: float = 0.0) -> None:
        """Read the shard's pending entries again, in `delay` seconds at the earliest, before new ones.

        What a read in the air brings of the shard is left out: it comes again.
        """
        if shard in self._next:
            self._next[shard] = FROM_THE_START
            self._void |= self._in_read & {shard}
            if delay:
                self._held_back[shard] = asyncio.get_running_loop().time() + delay

    async def read(self) -> list[Batch]:
        """The next entries of the owned shards, none if none came within `block_ms`.

        Redis being away, or having lost the groups, is dealt with here: then nothing comes for a while.
        """
        try:
            await self._follow(self._ownership.taking())
            batches = await self._read(self._readable())
        except StoreUnreachable as error:
            if self._reads:
                log.warning("streams cannot be read", reason=str(error))
            self._reads = False
            self._start_over()  # an answer may be lost, and what it held is pending now
            await asyncio.sleep(random.uniform(0.5, 1.5) * UNREACHABLE_SECONDS)  # noqa: S311 # jitter
        except ReplyError as error:
            await self._restore(error)
        else:
            self._reads = True
            return batches
        finally:
            self._in_read = frozenset()
            self._void.clear()
        return []

    async def _read(self, shards: list[int]) -> list[Batch]:
        self._in_read = frozenset(shards)
        starts = [self._next[shard] for shard in shards]
        streams = [self._stream(shard) for shard in shards]
        found = dict(await self._store.read_group(streams, starts, self._count, self._block_ms))
        owned = self._ownership.owned()
        batches = []
        for shard, start, stream in zip(shards, starts, streams, strict=True):
            if shard in self._void:
                continue
            if shard not in owned:
                self._next.pop(shard, None)  # should the lease come back, what was read now is pending
            elif (entries := found.get(stream, [])) is None:
                self._start_over_later(shard)
            elif entries or start != NEW:
                batches.append(self._batch(shard, start, entries))
        await self._drop_deleted(batches)
        return [batch for batch in batches if batch.entries]

    def _taken(self, shard: int) -> None:
        """The lease of a shard was taken, perhaps after others had it unnoticed: start from its pending."""
        self._next.pop(shard, None)
        self._void |= self._in_read & {shard}

    async def _follow(self, taking: frozenset[int]) -> None:
        """Forget shards that are gone; make sure of the groups of new ones, and start them from pending."""
        if taking == self._next.keys():
            return
        for shard in self._next.keys() - taking:
            del self._next[shard]
        now = asyncio.get_running_loop().time()
        fresh = sorted(s for s in taking - self._next.keys() if self._held_back.get(s, 0.0) <= now)
        await self._start(fresh)

    async def _start(self, shards: list[int]) -> None:
        """Make the groups of these shards where they are missing; those that cannot be used are left out."""
        both = [[keys.requests(shard), keys.events(shard)] for shard in shards]
        replies = await self._store.run([self._store.script("start_shard", pair, []) for pair in both])
        for shard, reply in zip(shards, replies, strict=True):
            if not isinstance(reply, ReplyError):
                self._next[shard] = FROM_THE_START
            elif reply.transient:
                raise StoreUnreachable(str(reply))
            else:
                log.critical("a shard's streams cannot be used", shard=shard, reason=str(reply))
                self._next.pop(shard, None)
                self._held_back[shard] = asyncio.get_running_loop().time() + GROUP_SECONDS

    def _readable(self) -> list[int]:
        if not self._held_back:
            return list(self._next)
        now = asyncio.get_running_loop().time()
        self._held_back = {shard: until for shard, until in self._held_back.items() if until > now}
        return [shard for shard in self._next if shard not in self._held_back]

    def _batch(self, shard: int, start: str, entries: list[Entry]) -> Batch:
        if start != NEW:
            more = len(entries) >= self._count
            self._next[shard] = entries[-1][0].decode() if more else NEW
        return Batch(shard, entries, start != NEW)  # type: ignore[arg-type] # the deleted are dropped below

    async def _drop_deleted(self, batches: list[Batch]) -> None:
        """Acknowledge entries that somebody deleted while they were pending: nothing is left to handle."""
        for batch in batches:
            if not batch.again:
                continue
            deleted = [entry_id for entry_id, fields in batch.entries if fields is None]
            if deleted:
                batch.entries = [entry for entry in batch.entries if entry[1] is not None]
                stream = self._stream(batch.shard)
                log.error(
                    "pending entries were deleted by somebody else", stream=stream, entries=len(deleted)
                )
                await self._store.run([("XACK", stream, keys.GROUP, *deleted)])

    def _start_over_later(self, shard: int) -> None:
        """The shard's node in a cluster is away, and with it, perhaps, an answer that held entries."""
        self._next[shard] = FROM_THE_START
        self._held_back[shard] = asyncio.get_running_loop().time() + UNREACHABLE_SECONDS

    def _start_over(self) -> None:
        self._next = dict.fromkeys(self._next, FROM_THE_START)

    async def _restore(self, error: ReplyError) -> None:
        """Redis came back without the groups: make them anew, from the first entry, once a second at most."""
        now = asyncio.get_running_loop().time()
        await asyncio.sleep(max(0.0, self._groups_tried + GROUP_SECONDS - now))
        self._groups_tried = asyncio.get_running_loop().time()
        log.critical(
            "Redis has lost the consumer groups: data are missing there; making them anew from the beginning"
            if error.code in LOST
            else "the streams cannot be read",
            reason=str(error),
        )
        try:
            await self._start(sorted(self._next))
        except StoreUnreachable as away:
            self._start_over()
            log.warning("the consumer groups cannot be made now", reason=str(away))
