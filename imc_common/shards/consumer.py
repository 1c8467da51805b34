"""Reads the streams of the owned shards: first what was read before and not handled, then what is new.

Handled entries are deleted, so every entry that exists is unhandled. What the last owner read and did not
finish is therefore the part of the stream up to the last-delivered-id of its consumer group. Redis keeps no
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

LOST = frozenset(("NOGROUP", "UNBLOCKED"))
"""Codes of a read whose consumer group is gone; the second if it vanished while the read waited."""
NOTHING_READ, NOT_OWNER = b"0-0", b"lost"
"""Replies of `claim_stream.lua`; any other is the last entry that was read."""
UNREACHABLE_SECONDS = 0.25
"""Pause before a stream is read again that Redis could not serve."""
GROUP_SECONDS = 1.0
"""Pause between two attempts to create missing groups."""


class Owner(Protocol):
    """The part of an ownership that a consumer needs."""

    process_id: str
    being_read: Callable[[int], bool]
    on_acquired: Callable[[int], None]

    def owned(self) -> frozenset[int]: ...

    def readable(self) -> frozenset[int]: ...

    def lease(self, shard: int) -> str: ...


@dataclass(slots=True)
class Batch:
    """Entries of one shard, in order. `again`: they were read before, by this or another process."""

    shard: int
    entries: list[tuple[bytes, list[bytes]]]
    again: bool


class RereadRange(NamedTuple):
    """The part of a stream that was read before and is still to be read again: two ids.

    `after` as in XRANGE (``-``, ``(ID``), `last` included.
    """

    after: str
    last: str


class Consumer:
    """Reads one stream of each owned shard.

    A shard that is new to this process, or was passed to `resync`, is read from its first entry on, in pages,
    before its new entries. `block_ms` bounds how long a newly owned shard waits for its first read.

    A resync or a new lease may come while a read is in flight. What that read returns of the shard is
    discarded (`_to_discard`), because the shard is read from its first entry afterwards.
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
        self._pages: dict[int, RereadRange | None] = {}  # shard -> what to read again, None: only new entries
        self._not_before: dict[int, float] = {}  # shard -> loop time of its next read
        self._in_read: frozenset[int] = frozenset()
        self._to_discard: set[int] = set()  # shards of the read in flight
        self._taken_again: set[int] = set()  # of these, those that another process may have had meanwhile
        self._reads = True
        self._groups_tried = 0.0
        ownership.being_read = lambda shard: shard in self._in_read
        ownership.on_acquired = self._acquired

    def resync(self, shard: int, delay: float = 0.0) -> None:
        """Read the shard from its first entry on, after at least `delay` seconds, before its new entries."""
        if shard in self._pages:
            self._start_over(shard)
            if delay:
                self._not_before[shard] = asyncio.get_running_loop().time() + delay

    async def read(self) -> list[Batch]:
        """The next entries of the owned shards, none if there were none within `block_ms`.

        If Redis is unreachable or has lost the groups, this returns nothing for a while and recovers by
        itself.
        """
        try:
            await self._follow(self._ownership.readable())
            batches = await self._read(self._readable())
        except StoreUnreachable as error:
            if self._reads:
                log.warning("streams cannot be read", reason=str(error))
            self._reads = False
            # The reply that was lost may have held entries, which Redis now counts as read: start over.
            self._pages.clear()
            await asyncio.sleep(random.uniform(0.5, 1.5) * UNREACHABLE_SECONDS)  # noqa: S311 # jitter
        except ReplyError as error:
            await self._restore(error)
        else:
            self._reads = True
            return batches
        finally:
            self._in_read = frozenset()
            self._to_discard.clear()
            self._taken_again.clear()
        return []

    async def _read(self, shards: list[int]) -> list[Batch]:
        # What was read before is older than what is new, so a shard's pages come first. That keeps the order
        # of its messages.
        self._in_read = frozenset(shards)
        paged = {shard: page for shard in shards if (page := self._pages[shard]) is not None}
        batches = await self._read_pages(paged) if paged else []
        # Shards without pages left, including those whose last page was just read, are read for new entries.
        # That read waits only if there is nothing to handle meanwhile.
        fresh = [shard for shard in shards if shard in self._pages and self._pages[shard] is None]
        if fresh or not batches:
            batches += await self._read_new(fresh, None if batches else self._block_ms)
        # A lease may have ended during the read. Entries of that shard are not ours any more; they now count
        # as read, so the shard has to be read from its first entry if the lease comes back.
        owned = self._ownership.owned()
        for batch in batches:
            if batch.shard not in owned:
                self._pages.pop(batch.shard, None)
        return [
            batch for batch in batches if batch.shard in self._pages and batch.shard not in self._to_discard
        ]

    async def _read_pages(self, pages: dict[int, RereadRange]) -> list[Batch]:
        """A page of each of these shards; after its last page a shard is read for new entries."""
        replies = await self._store.run(
            [("XRANGE", self._stream(shard), *page, "COUNT", self._count) for shard, page in pages.items()]
        )
        batches = []
        for (shard, page), entries in zip(pages.items(), replies, strict=True):
            # The shard was resynced or lost during the read: its pages begin again, or are not ours.
            if shard in self._to_discard or shard not in self._pages:
                continue
            if isinstance(entries, ReplyError):
                if not entries.transient:
                    raise entries
                self._start_over_later(shard)
                continue
            # A full page: there may be more. A short one: the end of what was read before.
            more = len(entries) >= self._count
            self._pages[shard] = RereadRange(f"({entries[-1][0].decode()}", page.last) if more else None
            if entries:
                batches.append(Batch(shard, [(i, f) for i, f in entries], again=True))
        return batches

    async def _read_new(self, shards: list[int], block_ms: int | None) -> list[Batch]:
        streams = [self._stream(shard) for shard in shards]
        found = dict(await self._store.read_new(self._group, streams, self._count, block_ms))
        batches = []
        for shard, stream in zip(shards, streams, strict=True):
            entries = found.get(stream, [])
            # No reply from the shard's node. It may have counted entries as read and lost the reply.
            if entries is None:
                self._start_over_later(shard)
            elif entries:
                batches.append(Batch(shard, entries, again=False))
        return batches

    def _acquired(self, shard: int) -> None:
        """The lease of a shard was taken. Another process may have had it since we last did: start over."""
        self._taken_again |= self._in_read & {shard}
        self._start_over(shard)

    def _start_over(self, shard: int) -> None:
        """Read the shard from its first entry on, once its stream is claimed."""
        self._pages.pop(shard, None)
        self._to_discard |= self._in_read & {shard}

    async def _follow(self, readable: frozenset[int]) -> None:
        """Forget shards that are not ours any more, and claim the streams of new ones."""
        # The usual case, in every read: nothing has changed.
        if readable == self._pages.keys():
            return
        for shard in self._pages.keys() - readable:
            del self._pages[shard]
        now = asyncio.get_running_loop().time()
        await self._start(
            sorted(s for s in readable.difference(self._pages) if self._not_before.get(s, 0.0) <= now)
        )

    async def _start(self, shards: list[int]) -> None:
        """Claim the streams of these shards; those that cannot be claimed now are tried again later."""
        if not shards:
            return
        lease, process_id = self._ownership.lease, self._ownership.process_id
        replies = await self._store.run(
            [self._store.script("claim_stream", [self._stream(s), lease(s)], [process_id]) for s in shards]
        )
        for shard, reply in zip(shards, replies, strict=True):
            if reply == NOT_OWNER:
                # Our lease has ended and we have not noticed yet.
                log.warning("stream has another owner", shard=shard)
                self._try_later(shard)
            elif not isinstance(reply, ReplyError):
                # Entries up to this one were read by a former owner, and those that exist are unhandled.
                self._pages[shard] = None if reply == NOTHING_READ else RereadRange("-", reply.decode())
            elif reply.transient:
                raise StoreUnreachable(str(reply))
            else:
                # A key of a wrong type, say: the other shards are read all the same.
                log.critical("stream cannot be used", shard=shard, reason=str(reply))
                self._try_later(shard)

    def _try_later(self, shard: int) -> None:
        self._pages.pop(shard, None)
        self._not_before[shard] = asyncio.get_running_loop().time() + GROUP_SECONDS

    def _readable(self) -> list[int]:
        if self._not_before:
            now = asyncio.get_running_loop().time()
            self._not_before = {shard: until for shard, until in self._not_before.items() if until > now}
        return list(self._pages)

    def _start_over_later(self, shard: int) -> None:
        """The shard's cluster node is unreachable, and a reply with entries may be lost: start over."""
        self._pages.pop(shard, None)
        self._not_before[shard] = asyncio.get_running_loop().time() + UNREACHABLE_SECONDS

    async def _restore(self, error: ReplyError) -> None:
        """Our groups are gone: another process has claimed the streams, or Redis restarted without its data.

        They are created again, from the first entry, at most once per `GROUP_SECONDS`.
        """
        # NOGROUP comes at once, not after `block_ms`. Without this pause the process would ask without end.
        now = asyncio.get_running_loop().time()
        await asyncio.sleep(max(0.0, self._groups_tried + GROUP_SECONDS - now))
        self._groups_tried = asyncio.get_running_loop().time()
        shards = sorted(self._pages)
        try:
            await self._start(shards)
            # If another process has claimed one of them, also if that was before we took the lease again,
            # nothing is wrong with Redis.
            if self._pages.keys() >= set(shards) and not self._taken_again:
                log.critical(
                    "redis lost its consumer groups" if error.code in LOST else "streams cannot be read",
                    reason=str(error),
                )
        except StoreUnreachable as unreachable:
            self._pages.clear()
            log.warning("consumer groups cannot be created now", reason=str(unreachable))
