"""A worker probes the members who are away, in the shards that it owns, and nobody else does."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest

from imc_common import keys
from imc_common.keys import Keys, shard_of
from imc_common.metrics import Metrics
from imc_worker.prober import PIPELINE, PROBES_PER_SECOND, STEPS, Prober
from tests.imc_worker.conftest import ALICE, BOB, ROOM, Bench

SHARD = shard_of(ROOM, 4)
NAMES = Keys()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """Bob has missed a message, and his first probe is due."""
    bench = Bench(history_max_messages=500)
    for command, who in (("create", ALICE), ("join", BOB), ("message", ALICE)):
        await bench.ask(command, who)
    await bench.work()
    ((entries,),) = [await bench.store.run([("XRANGE", NAMES.history(SHARD, ROOM), "-", "+")])]
    report = {"event": "message", "status": "480", "history_id": entries[0][0].decode()}
    flat = [part for pair in report.items() for part in pair]
    await bench.put("type", "delivery_report", "from", BOB, "room", ROOM, *flat)
    await bench.work()
    await bench.store.run([("ZADD", keys.probes(SHARD), 1, BOB), ("XTRIM", keys.events(SHARD), "MAXLEN", 0)])
    yield bench
    await bench.store.close()


def prober(bench: Bench, owned: set[int], metrics: Metrics) -> Prober:
    return Prober(bench.store, bench.settings, lambda: frozenset(owned), lambda: 1.0, metrics)


async def test_a_due_probe_is_started_and_counted(bench: Bench) -> None:
    metrics = Metrics()
    await prober(bench, {SHARD}, metrics).probe()
    assert await bench.events() == [("message", BOB)]
    assert b"imc_history_probes_total 1" in metrics.page()


async def test_shards_of_others_are_left_alone(bench: Bench) -> None:
    await prober(bench, set(range(16)) - {SHARD}, Metrics()).probe()
    assert await bench.events() == []


async def test_an_error_in_one_shard_does_not_stop_the_others(bench: Bench) -> None:
    """It is logged; the shard is tried again a second later."""
    broken = (SHARD + 1) % 16
    await bench.store.run([("SET", keys.probes(broken), "planted")])
    await prober(bench, {SHARD, broken}, Metrics()).probe()
    assert await bench.events() == [("message", BOB)]


async def test_without_history_members_come_back(bench: Bench) -> None:
    """Nothing is sent: who is away now misses what is said, as in the old modules."""
    probing = prober(bench, {SHARD}, Metrics())
    probing.reload(bench.settings.model_copy(update={"history_max_messages": 0}))
    await probing.probe()
    assert await bench.events() == []
    (value,) = await bench.store.run([("HGET", NAMES.members(SHARD, ROOM), BOB)])
    assert value == b"member"


async def test_the_steps_of_a_second_look_at_each_shard_once(bench: Bench) -> None:
    """The probes of all shards at one moment would keep Redis from other work."""
    looked_at: list[bool] = []
    for step in range(STEPS):
        await prober(bench, set(range(16)), Metrics()).probe(step, STEPS)
        looked_at.append(await bench.events() != [])
        await bench.store.run([("XTRIM", keys.events(SHARD), "MAXLEN", 0)])
    assert looked_at.count(True) == 1


async def test_many_shards_together_start_no_more_probes_than_allowed() -> None:
    """Each of them has a user whose probe is due. All have their turn, one after the other."""
    bench, shards = Bench(hash_size=10, history_max_messages=500), range(1024)
    users = {shard: f"user{shard}@example.org" for shard in shards}
    for shard, user in users.items():
        about = {f"away:{user}": "1-0", "private": "0"}
        await bench.store.run(
            [
                ("ZADD", keys.probes(shard), 1, user),
                ("HSET", keys.probe_waits(shard), user, 60_000),
                ("SADD", keys.away_rooms(shard, user), ROOM),
                ("HSET", NAMES.members(shard, ROOM), user, "member away"),
                ("HSET", NAMES.room(shard, ROOM), *(part for pair in about.items() for part in pair)),
                ("XADD", NAMES.history(shard, ROOM), "1-0", ALICE, "data"),
            ]
        )
    metrics = Metrics()
    probing, counts = prober(bench, set(shards), metrics), []
    for second in range(5):
        for step in range(STEPS):
            await probing.probe(step, STEPS)
        found = re.search(rb"imc_history_probes_total (\d+)", metrics.page())
        counts.append(int(found[1]) if found else 0)
        assert counts[-1] <= PROBES_PER_SECOND * (second + 1) + PIPELINE
    assert counts[-1] == len(shards)
    await bench.store.close()
