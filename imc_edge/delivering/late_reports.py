"""Remembers what has failed for as long as workers are behind.

An edge remembers a failed message for `KNOWN_SECONDS`. By then a worker has usually handled the report, and
emits no later messages for that member. Workers that were down, or have a long backlog, take longer. First
they handle the requests before the report, and emit messages for the member. These would overtake the one
that failed. So while a shard has requests that have waited since the last look, what failed in its rooms is
remembered anew, for `KNOWN_SECONDS` from now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final

from imc_common import keys
from imc_common.keys import shard_of
from imc_common.scripts import Command
from imc_common.store import StoreUnreachable
from imc_common.store.protocols import CommandRunner
from imc_edge.delivering.absence import KNOWN_SECONDS, Position, parse
from imc_edge.delivering.recipient import Recipient

LOOK_SECONDS: Final = KNOWN_SECONDS / 6
"""Between two looks."""


class LateReports:
    """Looks at the in-streams of the shards that this edge owns."""

    def __init__(
        self,
        store: CommandRunner,
        owned: Callable[[], frozenset[int]],
        recipients: Callable[[], Iterable[Recipient]],
        clock: Callable[[], float],
        *,
        hash_size: int,
    ) -> None:
        """``recipients`` gives those that are remembered, ``clock`` is monotonic."""
        self._store = store
        self._owned = owned
        self._recipients = recipients
        self._clock = clock
        self._hash_size = hash_size
        self._newest: dict[int, Position] = {}
        """By shard, the newest request at the last look."""

    async def run(self) -> None:
        """Look from time to time, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Prolong what is known of failures in the shards whose workers are behind."""
        behind = await self._behind(sorted(self._owned()))
        if not behind:
            return
        now = self._clock()
        for recipient in self._recipients():
            if recipient.absence is not None:
                recipient.absence.prolong(now, lambda room: shard_of(room, self._hash_size) in behind)

    async def _behind(self, shards: list[int]) -> set[int]:
        """The shards with a request that was there at the last look; all, if Redis is unreachable."""
        commands: list[Command] = []
        for name in map(keys.requests, shards):
            commands += (("XRANGE", name, "-", "+", "COUNT", 1), ("XREVRANGE", name, "+", "-", "COUNT", 1))
        try:
            replies = await self._store.run(commands)
        except StoreUnreachable:
            return set(shards)
        behind: set[int] = set()
        newest: dict[int, Position] = {}
        for at, shard in enumerate(shards):
            oldest, latest = _id_in(replies[2 * at]), _id_in(replies[2 * at + 1])
            if latest is not None:
                newest[shard] = latest
            if oldest is not None and shard in self._newest and oldest <= self._newest[shard]:
                behind.add(shard)
        self._newest = newest
        return behind


def _id_in(reply: Any) -> Position | None:
    """The id of the only entry in a reply; None if it has none, or is an error."""
    return parse(reply[0][0].decode()) if isinstance(reply, list) and reply else None
