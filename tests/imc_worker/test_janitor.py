"""The janitor removes what rooms must not keep any longer, and who has been away for too long."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from imc_common import keys
from imc_common.keys import Keys, shard_of
from imc_common.metrics import Metrics
from imc_common.rooms.history import Retention, retention
from imc_common.settings import Settings
from imc_worker.janitor import Janitor
from tests.imc_worker.conftest import ALICE, BOB, CAROL, ROOM, Bench

SHARD = shard_of(ROOM, 4)
NAMES = Keys()
DAY = 24 * 3600
NOW = int(time.time())
HISTORY = NAMES.history(SHARD, ROOM)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """Alice owns a room with Bob; it has kept a message each day for ten days."""
    bench = Bench(history_max_messages=500, announce_joins=False)
    await bench.ask("create", ALICE)
    await bench.ask("join", BOB)
    await bench.work()
    for day in range(10, 0, -1):
        entry = f"{(NOW - day * DAY + 60) * 1000}-0"
        await bench.store.run([("XADD", HISTORY, entry, ALICE, "x" * 100)])
    yield bench
    await bench.store.close()


def janitor(bench: Bench, metrics: Metrics | None = None, **settings: Any) -> Janitor:
    changed = bench.settings.model_copy(update=settings)
    return Janitor(bench.store, changed, lambda: frozenset({SHARD}), lambda: float(NOW), metrics or Metrics())


async def kept(bench: Bench) -> int:
    (count,) = await bench.store.run([("XLEN", HISTORY)])
    assert isinstance(count, int)
    return count


async def test_what_is_too_old_goes(bench: Bench) -> None:
    """After a week, if the settings say nothing else."""
    metrics = Metrics()
    await janitor(bench, metrics).tidy(SHARD)
    assert await kept(bench) == 7
    page = metrics.page()
    assert b'imc_history_trimmed_total{reason="age"} 3' in page
    assert b"imc_history_messages 7" in page


@pytest.mark.parametrize(("wish", "left"), [("2d", 2), ("30d", 7), ("off", 0), ("3", 3), ("", 7)])
async def test_the_owners_wish_counts_within_the_operators_limits(bench: Bench, wish: str, left: int) -> None:
    await bench.store.run([("HSET", NAMES.room(SHARD, ROOM), "history", wish)])
    await janitor(bench).tidy(SHARD)
    assert await kept(bench) == left


def test_retention_is_the_stricter_of_two_limits() -> None:
    """Of the owners and the operator; what cannot be read is no wish."""
    settings = Settings(history_max_messages=500, history_max_age=7.0 * DAY)
    assert retention(settings, b"") == retention(settings, b"nonsense") == Retention(500, 7 * DAY)
    assert retention(settings, b"off") == Retention(0, 7 * DAY)
    assert retention(settings, b"20") == Retention(20, 7 * DAY)
    assert retention(settings, b"2000") == Retention(500, 7 * DAY)
    assert retention(settings, b"2d") == Retention(500, 2 * DAY)
    assert retention(settings, b"30d") == Retention(500, 7 * DAY)
    unlimited = Settings(history_max_messages=500, history_max_age=0)
    assert retention(unlimited, b"30d") == Retention(500, 30 * DAY)


async def test_an_empty_history_leaves_no_key(bench: Bench) -> None:
    await janitor(bench, history_max_age=1.0).tidy(SHARD)
    assert await bench.store.run([("EXISTS", HISTORY)]) == [0]


async def test_a_history_of_a_wrong_type_stops_nothing(bench: Bench) -> None:
    other = next(f"r{n}@example.org" for n in range(99) if shard_of(f"r{n}@example.org", 4) == SHARD)
    await bench.store.run([("ZADD", NAMES.rooms(SHARD), 0, other), ("SET", NAMES.history(SHARD, other), "x")])
    await janitor(bench).tidy(SHARD)
    assert await kept(bench) == 7


@pytest.mark.parametrize(
    ("days", "sign_days", "removed"),
    [(0, None, False), (9, None, True), (11, None, False), (9, 8, False), (7, 8, True)],
)
async def test_who_is_away_for_too_long_is_removed(
    bench: Bench, days: int, sign_days: int | None, removed: bool
) -> None:
    """By a request that the worker handles in its order. The time counts from the member's latest sign."""
    since = f"{(NOW - 10 * DAY) * 1000}-0"
    sign = [] if sign_days is None else [f"sign:{BOB}", f"{(NOW - sign_days * DAY) * 1000}-0"]
    await bench.store.run(
        [
            ("HSET", NAMES.members(SHARD, ROOM), BOB, "member away"),
            ("HSET", NAMES.room(SHARD, ROOM), f"away:{BOB}", since, *sign),
            ("SADD", keys.away_rooms(SHARD, BOB), ROOM),
            ("SADD", keys.away_rooms(SHARD, CAROL), "gone@example.org"),
            ("ZADD", keys.probes(SHARD), 1, BOB, 1, CAROL),
        ]
    )
    await janitor(bench, remove_after_days=days).tidy(SHARD)
    requests = await bench.stream(keys.requests(SHARD))
    asked = [(fields["type"], fields["from"], fields["room"]) for fields in requests]
    assert asked == ([("remove_absent", BOB, ROOM)] if removed else [])


async def test_a_user_whose_devices_are_away_for_too_long_is_removed_once(bench: Bench) -> None:
    """The script decides whether all of them are."""
    since = f"{(NOW - 10 * DAY) * 1000}-0"
    devices = [f"{BOB};gr=urn:uuid:{number}" for number in range(2)]
    for device in devices:
        await bench.store.run(
            [
                ("HSET", NAMES.room(SHARD, ROOM), f"away:{device}", since),
                ("SADD", keys.away_rooms(SHARD, BOB), f"{ROOM} {device}"),
                ("ZADD", keys.probes(SHARD), 1, BOB),
            ]
        )
    await janitor(bench, remove_after_days=9).tidy(SHARD)
    requests = await bench.stream(keys.requests(SHARD))
    assert [(each["type"], each["from"], each["room"]) for each in requests] == [("remove_absent", BOB, ROOM)]


async def test_subscriptions_that_are_over_are_removed(bench: Bench) -> None:
    """In rooms with devices; a key of a wrong type stops nothing."""
    device, room = f"{BOB};gr=urn:uuid:1", NAMES.room(SHARD, ROOM)
    over = '{"dialog":"{}","expires_at":1,"version":1,"rev":1,"pending":""}'
    await bench.store.run(
        [
            ("HSET", keys.devices(SHARD, ROOM), device, "device"),
            ("HSET", room, f"subscription:{device}", over),
        ]
    )
    await janitor(bench).tidy(SHARD)
    assert await bench.store.run([("HEXISTS", room, f"subscription:{device}")]) == [0]
    await bench.store.run([("DEL", keys.devices(SHARD, ROOM))])
    await bench.store.run([("SET", keys.devices(SHARD, ROOM), "planted")])
    await janitor(bench).tidy(SHARD)
    assert await kept(bench) == 7
