"""What the histories of a shard lose if they take more memory than they may, on real servers."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from imc_common.keys import Keys, shard_of
from imc_common.metrics import Metrics
from imc_common.settings import Settings
from imc_common.store import Store
from imc_worker.history_ceiling import Ceiling, Measured
from imc_worker.janitor import Janitor
from tests import servers

NAMES = Keys()
HASH_SIZE = Settings().hash_size
SHARD = shard_of("r0@example.org", HASH_SIZE)
ROOMS = [room for n in range(2000) if shard_of(room := f"r{n}@example.org", HASH_SIZE) == SHARD][:20]
NOW_MS = int(time.time() * 1000)
MINUTE_MS, HOUR_MS = 60_000, 3_600_000
WALKS = 25
"""More than it takes until the rest fits."""


class Kept:
    """The histories of a shard on one server, and a janitor with this ceiling for all shards together."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.page = b""

    async def fill(self, room: str, times: list[int], size: int) -> None:
        """The room has kept a message of this size from each of these times."""
        key = NAMES.history(SHARD, room)
        commands: list[Any] = [("XADD", key, f"{at}-{n}", "a@b", "x" * size) for n, at in enumerate(times)]
        await self._store.run([("ZADD", NAMES.rooms(SHARD), 0, room), *commands])

    async def times(self, room: str) -> list[int]:
        (entries,) = await self._store.run([("XRANGE", NAMES.history(SHARD, room), "-", "+")])
        return [int(entry[0].partition(b"-")[0]) for entry in entries]

    async def size(self) -> int:
        names = [NAMES.history(SHARD, room) for room in ROOMS]
        sizes = await self._store.run([("MEMORY", "USAGE", name, "SAMPLES", "0") for name in names])
        return sum(size or 0 for size in sizes)

    async def walk(self, limit: int, walks: int = WALKS) -> list[int]:
        """Walk so often with this ceiling for the shard; the memory after each."""
        settings = Settings(
            history_max_messages=10_000, history_max_age=0.0, history_max_bytes=limit << HASH_SIZE
        )
        metrics = Metrics()
        janitor = Janitor(self._store, settings, lambda: frozenset({SHARD}), time.time, metrics)
        found = []
        for _ in range(walks):
            await janitor.tidy(SHARD)
            found.append(await self.size())
        self.page = metrics.page()
        return found


@pytest.fixture(params=servers.KINDS)
async def kept(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kept]:
    with servers.running(request.param, tmp_path) as server:
        store = await Store.connect(Settings(db_url=server.url), check=False)
        yield Kept(store)
        await store.close()


def spread(start: int, end: int, count: int) -> list[int]:
    return [start + (end - start) * n // count for n in range(count)]


async def test_a_busy_room_takes_nothing_away_from_others(kept: Kept) -> None:
    """They have kept older messages; all of its own are from the last minute. It loses its oldest."""
    busy, *others = ROOMS
    old = spread(NOW_MS - 48 * HOUR_MS, NOW_MS, 30)
    for room in others:
        await kept.fill(room, old, 100)
    flood = spread(NOW_MS - MINUTE_MS, NOW_MS, 500)
    await kept.fill(busy, flood, 1000)
    limit = 250_000
    assert await kept.size() > 2 * limit
    sizes = await kept.walk(limit)
    assert 0.9 * limit < sizes[-1] <= limit
    assert [await kept.times(room) for room in others] == [old] * len(others)
    left = await kept.times(busy)
    assert left == flood[-len(left) :]
    assert len(left) > 20
    assert f'imc_history_trimmed_total{{reason="bytes"}} {500 - len(left)}'.encode() in kept.page


async def test_the_oldest_rooms_lose_the_oldest_messages_first(kept: Kept) -> None:
    """All rooms take as much. Times are estimated, so it is exact to a block or two."""
    filled = {}
    for number, room in enumerate(ROOMS):
        start = NOW_MS - (40 - number) * HOUR_MS
        filled[room] = spread(start, start + 10 * HOUR_MS, 400)
        await kept.fill(room, filled[room], 100)
    limit = await kept.size() * 7 // 10
    sizes = await kept.walk(limit)
    assert 0.9 * limit < sizes[-1] <= limit
    left = {room: await kept.times(room) for room in ROOMS}
    lost = [len(filled[room]) - len(left[room]) for room in ROOMS]
    assert all(older >= newer - 80 for older, newer in itertools.pairwise(lost))  # a block has 35
    assert lost[0] > 200
    assert lost[-4:] == [0] * 4
    for room in ROOMS:
        assert left[room] == filled[room][-len(left[room]) :]


@pytest.mark.parametrize("count", [10, 150])
async def test_it_ends_also_if_each_room_has_only_a_block_or_two(kept: Kept, count: int) -> None:
    """All are as old, so some lose everything: nothing less frees memory. It is not more than needed."""
    for room in ROOMS:
        await kept.fill(room, spread(NOW_MS - HOUR_MS, NOW_MS, count), 20)
    size = await kept.size()
    sizes = await kept.walk(size * 8 // 10)
    assert sizes[-1] <= size * 8 // 10
    assert sizes == sorted(sizes, reverse=True)


async def test_what_fits_stays(kept: Kept) -> None:
    """Once it fits, no walk removes anything; and what is said after the last one is never in danger."""
    for room in ROOMS:
        await kept.fill(room, spread(NOW_MS - HOUR_MS, NOW_MS, 300), 200)
    limit = await kept.size() // 2
    await kept.walk(limit)
    left = [await kept.times(room) for room in ROOMS]
    await kept.fill(ROOMS[0], [NOW_MS + 1], 200)
    await kept.walk(limit + 10_000, 5)
    assert [await kept.times(room) for room in ROOMS] == [[*left[0], NOW_MS + 1], *left[1:]]
    size = await kept.size()
    assert set(await kept.walk(0, 5)) == {size}


def test_no_cut_off_is_later_than_what_was_measured() -> None:
    """Whatever is too much, and however often it was in vain."""
    ceiling = Ceiling()
    for _ in range(50):
        ceiling.begin()
        ceiling.add(Measured(100_000, 1000, NOW_MS - HOUR_MS, NOW_MS))
        ceiling.add(Measured(2000, 3, NOW_MS - HOUR_MS, NOW_MS))
        ceiling.finish(10_000)
        assert ceiling.cutoff_ms <= NOW_MS + 1
    assert ceiling.cutoff_ms > NOW_MS - HOUR_MS
    assert ceiling.may_lose(Measured(2000, 3, 0, 1)) == 0


def test_a_walk_that_did_not_end_does_not_count() -> None:
    """Redis was unreachable. What it has seen would count twice."""
    ceiling, large = Ceiling(), Measured(9000, 100, NOW_MS - HOUR_MS, NOW_MS)
    for _ in range(3):
        ceiling.begin()
        ceiling.add(large)
    ceiling.begin()
    ceiling.add(large)
    ceiling.finish(10_000)
    assert ceiling.cutoff_ms == 0
