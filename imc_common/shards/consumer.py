"""Reading the streams of the owned shards: what was handed out before first, then what is new.

Handled entries are deleted, so whatever is still there has not been handled. What a predecessor was handed
and did not finish is therefore the part of the stream up to the group's last-delivered-id; Redis keeps no
list of pending entries for us (`imc_common.store.xreadgroup`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import structlog

from imc_common import keys
from imc_common.store import ReplyError, StoreUnreachable
from imc_common.store.protocols import StreamReader

log = structlog.get_logger()

LOST = frozenset(("NOGROUP", "UNBLOCKED"))  # the latter if it happens while a read waits
NONE, ANOTHERS = b"0-0", b"lost"
UNREACHABLE_SECONDS = 0.25
GROUP_SECONDS = 1.0  # between two attempts to make missing groups


class Owner(Protocol):
    """The part of an ownership that a consumer needs."""

    process_id: str
    being_read: Callable[[int], bool]
    on_taken: Callable[[int], None]

    def owned(self) -> frozenset[int]: ...

    def taking(self) -> frozenset[int]: ...

    def lease(self, shard: int) -> str: ...


@dataclass(slots=True)
class Batch:
    """Entries of one shard, in order. `again`: they were handed out before, to this or another process."""

    shard: int
    entries: list[tuple[bytes, list[bytes]]]
    again: bool


class Page(NamedTuple):
    """The part of a stream that was handed out before, as far as it is still to be read: two ids.

    `after` as XRANGE takes it (``-``, ``(ID``), `last` included.
    """

    after: str
    last: str


class Consumer:
    """Reads one stream of each owned shard.

    A shard that is new to this process, or given to `resync`, is read from its first entry on, in pages,
    before anything new of it. `block_ms` bounds how long a newly owned shard waits for its first read.
    """

    def __init__(
        self, store: StreamReader, ownership: Owner, stream: Callable[[int], str], count: int, block_ms: int
    ) -> None:
        self._store = store
        self._ownership = ownership
        self._stream = stream
        self._group = keys.group(ownership.process_id)
        self._count = count
        self._block_ms = block_ms
        self._pages: dict[int, Page | None] = {}  # shard -> what to read again; None: only new entries
        self._held_back: dict[int, float] = {}  # shard -> loop time before which it is not read
        self._in_read: frozenset[int] = frozenset()
        self._void: set[int] = set()  # shards of the read in the air whose entries will come again
        self._reads = True
        self._groups_tried = 0.0
        ownership.being_read = lambda shard: shard in self._in_read
        ownership.on_taken = self._taken

    def resync(self, shard: int, delay: float = 0.0) -> None:
        """Read the shard from its first entry on, in `delay` seconds at the earliest, before anything new.

        What a read in the air brings of the shard is left out: it comes again.
        """
        if shard in self._pages:
            self._taken(shard)
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
            self._pages.clear()  # an answer may be lost that held entries: start again from the first
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
        paged = {shard: page for shard in shards if (page := self._pages[shard]) is not None}
        batches = await self._read_pages(paged) if paged else []
        fresh = [shard for shard in shards if shard in self._pages and self._pages[shard] is None]
        if fresh or not batches:
            batches += await self._read_new(fresh, None if batches else self._block_ms)
        owned = self._ownership.owned()
        for batch in batches:
            if batch.shard not in owned:
                self._pages.pop(batch.shard, None)  # should the lease come back, it was handed out already
        return [batch for batch in batches if batch.shard in self._pages and batch.shard not in self._void]

    async def _read_pages(self, pages: dict[int, Page]) -> list[Batch]:
        """A page of each of these shards; the last one of a shard is followed by what is new."""
        replies = await self._store.run(
            [("XRANGE", self._stream(shard), *page, "COUNT", self._count) for shard, page in pages.items()]
        )
        batches = []
        for (shard, page), entries in zip(pages.items(), replies, strict=True):
            if shard in self._void or shard not in self._pages:
                continue
            if isinstance(entries, ReplyError):
                if not entries.transient:
                    raise entries
                self._start_over_later(shard)
                continue
            more = len(entries) >= self._count
            self._pages[shard] = Page(f"({entries[-1][0].decode()}", page.last) if more else None
            if entries:
                batches.append(Batch(shard, [(i, f) for i, f in entries], again=True))
        return batches

    async def _read_new(self, shards: list[int], block_ms: int | None) -> list[Batch]:
        streams = [self._stream(shard) for shard in shards]
        found = dict(await self._store.read_new(self._group, streams, self._count, block_ms))
        batches = []
        for shard, stream in zip(shards, streams, strict=True):
            entries = found.get(stream, [])
            if entries is None:
                self._start_over_later(shard)
            elif entries:
                batches.append(Batch(shard, entries, again=False))
        return batches

    def _taken(self, shard: int) -> None:
        """The lease of a shard was taken, perhaps after others had it unnoticed: start over."""
        self._pages.pop(shard, None)
        self._void |= self._in_read & {shard}

    async def _follow(self, taking: frozenset[int]) -> None:
        """Forget shards that are gone; make the groups of new ones, and learn how far they were read."""
        if taking == self._pages.keys():
            return
        for shard in self._pages.keys() - taking:
            del self._pages[shard]
        now = asyncio.get_running_loop().time()
        await self._start(
            sorted(s for s in taking - self._pages.keys() if self._held_back.get(s, 0.0) <= now)
        )

    async def _start(self, shards: list[int]) -> None:
        """Make our group of these shards, which ends their former owners'; some may not be usable now."""
        if not shards:
            return
        lease, process_id = self._ownership.lease, self._ownership.process_id
        replies = await self._store.run(
            [self._store.script("claim_stream", [self._stream(s), lease(s)], [process_id]) for s in shards]
        )
        for shard, reply in zip(shards, replies, strict=True):
            if reply == ANOTHERS:
                log.warning("a shard's stream has another owner", shard=shard)
                self._leave_alone(shard)
            elif not isinstance(reply, ReplyError):
                self._pages[shard] = None if reply == NONE else Page("-", reply.decode())
            elif reply.transient:
                raise StoreUnreachable(str(reply))
            else:
                log.critical("a shard's streams cannot be used", shard=shard, reason=str(reply))
                self._leave_alone(shard)

    def _leave_alone(self, shard: int) -> None:
        self._pages.pop(shard, None)
        self._held_back[shard] = asyncio.get_running_loop().time() + GROUP_SECONDS

    def _readable(self) -> list[int]:
        if self._held_back:
            now = asyncio.get_running_loop().time()
            self._held_back = {shard: until for shard, until in self._held_back.items() if until > now}
        return list(self._pages)

    def _start_over_later(self, shard: int) -> None:
        """The shard's node in a cluster is away, and with it, perhaps, an answer that held entries."""
        self._pages.pop(shard, None)
        self._held_back[shard] = asyncio.get_running_loop().time() + UNREACHABLE_SECONDS

    async def _restore(self, error: ReplyError) -> None:
        """Our groups are gone: another process has taken shards over, or Redis came back without them.

        Then they are made anew, from the first entry, once a second at most.
        """
        now = asyncio.get_running_loop().time()
        await asyncio.sleep(max(0.0, self._groups_tried + GROUP_SECONDS - now))
        self._groups_tried = asyncio.get_running_loop().time()
        shards = sorted(self._pages)
        try:
            await self._start(shards)
            if self._pages.keys() >= set(shards):
                log.critical(
                    "Redis has lost the consumer groups: data are missing there; made anew from the beginning"
                    if error.code in LOST
                    else "the streams cannot be read",
                    reason=str(error),
                )
        except StoreUnreachable as away:
            self._pages.clear()
            log.warning("the consumer groups cannot be made now", reason=str(away))
