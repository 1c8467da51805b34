"""A worker's parts on fakeredis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from imc_common import keys
from imc_common.keys import Keys, shard_of
from imc_common.metrics import Metrics
from imc_common.rooms.request import RequestData, RoomRequest
from imc_common.settings import Settings
from imc_common.shards.consumer import Consumer
from imc_common.shards.ownership import Ownership
from imc_common.tracer import Tracer
from imc_worker.all_shards import AllShards
from imc_worker.automatic_answers import AutomaticAnswers
from imc_worker.committer import Committer
from imc_worker.dispatcher import Dispatcher
from imc_worker.retrial import Retrial
from tests.fake_store import FakeStore

ALICE, BOB, CAROL = "alice@example.org", "bob@example.org", "carol@example.org"
ROOM = "chat@example.org"


class Bench:
    """One worker that reads and commits when the test says so, and an edge's view of the streams."""

    def __init__(self, **settings: Any) -> None:
        self.settings = Settings(**settings)
        self.store = FakeStore()
        self.now = 1000.0
        shards = 1 << self.settings.hash_size
        self.ownership = Ownership(self.store, "worker", "w", shards, 3.0, lambda: self.now)
        self.consumer = Consumer(self.store, self.ownership, keys.requests, 100, block_ms=1)
        names = Keys(self.settings.rooms_table, self.settings.members_table)
        self.dispatcher = Dispatcher(self.store.scripts, AllShards(self.store, names, shards), self.settings)
        self.committer = Committer(
            self.store,
            self.dispatcher,
            self.consumer,
            Retrial(self.store, self.settings.max_attempts, lambda: 1.7e9),
            self.ownership.owned,
            AutomaticAnswers(self.settings),
            Metrics(),
            Tracer(self.store, "worker", verbose=False, wall=lambda: 1.7e9),
        )

    async def ask(self, type: str, sender: str, room: str = ROOM, **fields: Any) -> bytes:  # noqa: A002
        """Put a request into its shard's stream as an edge would; gives the entry's id."""
        request = RoomRequest(
            type, sender, room, data=RequestData(body=b"hi", call_id="c@h", at=1).pack(), **fields
        )
        return await self.put(*request.to_fields(), room=room)

    async def put(self, *fields: str | bytes, room: str = ROOM) -> bytes:
        """Put an entry of any fields into the stream of the room's shard."""
        stream = keys.requests(shard_of(room, self.settings.hash_size))
        (entry_id,) = await self.store.run([("XADD", stream, "*", *fields)])
        assert isinstance(entry_id, bytes)
        return entry_id

    async def work(self, rounds: int = 3) -> None:
        """Read and handle, several times."""
        await self.ownership.step()
        for _ in range(rounds):
            for batch in await self.consumer.read():
                self.committer.put(batch)
            await self.handle()

    async def handle(self) -> None:
        """Handle pending entries, as `Committer.run` does."""
        while self.committer._new or self.committer._retried:
            if self.committer._retried:
                await self.committer._retry()
            if self.committer._new:
                await self.committer._commit()

    async def stream(self, key: str) -> list[dict[str, str]]:
        (entries,) = await self.store.run([("XRANGE", key, "-", "+")])
        flat = [[part.decode(errors="replace") for part in fields] for _, fields in entries]
        return [dict(zip(fields[::2], fields[1::2], strict=True)) for fields in flat]

    async def events(self, room: str = ROOM) -> list[tuple[str, str]]:
        """Name and recipients of every event of the room's shard."""
        entries = await self.stream(keys.events(shard_of(room, self.settings.hash_size)))
        return [(entry["event"], entry["to"]) for entry in entries]

    async def left(self, room: str = ROOM) -> int:
        """Entries of the room's shard that are not handled."""
        return len(await self.stream(keys.requests(shard_of(room, self.settings.hash_size))))


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    await bench.store.close()
