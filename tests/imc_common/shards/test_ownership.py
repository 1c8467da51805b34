"""Leases: which process owns which shard, and when."""

from __future__ import annotations

from collections import Counter
from typing import Any

import fakeredis
import pytest

from imc_common import keys
from imc_common.shards.ownership import Ownership
from imc_common.store import Command, StoreUnreachable
from tests.fake_store import FakeStore

SHARDS = 16
LEASE = 3.0


class Clock:
    """A clock that only the test advances."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Fleet:
    """Processes of one role on one fake server, with one clock."""

    def __init__(self) -> None:
        self.server = fakeredis.FakeServer()
        self.clock = Clock()
        self.members: dict[str, Ownership] = {}
        self.stores: dict[str, FakeStore] = {}

    def join(self, name: str, role: str = "worker") -> Ownership:
        store = self.stores[name] = FakeStore(self.server)
        member = self.members[name] = Ownership(store, role, name, SHARDS, LEASE, self.clock)  # type: ignore[arg-type]
        return member

    async def heartbeats(self, number: int) -> None:
        """Each process sends `number` heartbeats and acquires or releases shards in between, as in `run`."""
        for _ in range(number):
            for _ in range(4):
                for member in self.members.values():
                    await member.step()
                self.clock.now += LEASE / 12

    def spread(self) -> list[int]:
        return sorted((len(member.owned()) for member in self.members.values()), reverse=True)

    def owners(self) -> Counter[int]:
        return Counter(shard for member in self.members.values() for shard in member.owned())


@pytest.fixture
async def fleet() -> Fleet:
    return Fleet()


async def test_one_process_owns_every_shard(fleet: Fleet) -> None:
    """After its first step."""
    alone = fleet.join("a")
    await alone.step()
    assert alone.owned() == alone.readable() == frozenset(range(SHARDS))


@pytest.mark.parametrize(("processes", "spread"), [(2, [8, 8]), (3, [6, 5, 5]), (5, [4, 3, 3, 3, 3])])
async def test_shards_are_distributed_evenly_within_two_heartbeats(
    fleet: Fleet, processes: int, spread: list[int]
) -> None:
    """Processes that join get their share. No shard has two owners."""
    await fleet.join("a").step()
    for number in range(1, processes):
        fleet.join(f"b{number}")
    await fleet.heartbeats(2)
    assert fleet.spread() == spread
    assert fleet.owners() == Counter(range(SHARDS))


async def test_the_shards_of_a_dead_process_go_to_the_others(fleet: Fleet) -> None:
    """Its leases expire, and the live processes share them."""
    for name in "abc":
        fleet.join(name)
    await fleet.heartbeats(3)
    del fleet.members["b"]
    fleet.stores["a"].ran.clear()
    keys_of_b = [keys.lease(shard, "worker") for shard in range(SHARDS)]
    client = fakeredis.FakeRedis(server=fleet.server)
    for key in keys_of_b:
        if client.get(key) == b"b":
            client.delete(key)  # fakeredis uses the wall clock: this stands for the expiry
    client.zrem(keys.WORKERS, "b")
    await fleet.heartbeats(2)
    assert fleet.spread() == [8, 8]
    assert fleet.owners() == Counter(range(SHARDS))


async def test_the_shards_of_a_dead_process_are_freed_after_redis_clock_was_set_back(fleet: Fleet) -> None:
    """Its leases would last for an hour: they were taken while the clock was an hour ahead."""
    fleet.join("a")
    await fleet.heartbeats(2)
    del fleet.members["a"]
    survivor = fleet.join("b")
    client = fleet.stores["b"]._client
    await client.delete(keys.WORKERS)
    for shard in range(SHARDS):
        assert await client.pexpire(keys.lease(shard, "worker"), 3_600_000)
    await survivor.step()
    assert survivor.owned() == frozenset()
    left = [await client.pttl(keys.lease(shard, "worker")) for shard in range(SHARDS)]
    assert all(0 < milliseconds <= 1000 * LEASE for milliseconds in left)


async def test_a_surplus_shard_with_pending_entries_is_kept_but_not_read(fleet: Fleet) -> None:
    """It is released when no entry is pending."""
    a = fleet.join("a")
    await a.step()
    busy = True
    a.can_release = lambda shard: not busy
    fleet.join("b")
    await fleet.heartbeats(2)
    assert len(a.owned()) == 16
    assert len(a.readable()) == 8
    busy = False
    await fleet.heartbeats(1)
    assert fleet.spread() == [8, 8]


async def test_a_shard_is_not_released_during_a_read(fleet: Fleet) -> None:
    """Entries of a read in flight are pending for this process."""
    a = fleet.join("a")
    await a.step()
    a.being_read = lambda shard: True
    fleet.join("b")
    await fleet.heartbeats(2)
    assert len(a.owned()) == 16
    a.being_read = lambda shard: False
    await fleet.heartbeats(1)
    assert fleet.spread() == [8, 8]


async def test_a_shard_that_is_no_longer_surplus_is_read_again(fleet: Fleet) -> None:
    """When the new process stops before it got its share."""
    a = fleet.join("a")
    await a.step()
    a.can_release = lambda shard: False
    b = fleet.join("b")
    await fleet.heartbeats(2)
    assert len(a.readable()) == 8
    await b.release_all()
    del fleet.members["b"]
    await fleet.heartbeats(1)
    assert len(a.readable()) == 16


async def test_a_lease_ends_by_the_own_monotonic_clock(fleet: Fleet) -> None:
    """lease_ttl after the last successful renewal was sent."""
    a = fleet.join("a")
    await a.step()
    fleet.clock.now += LEASE - 0.01
    assert len(a.owned()) == SHARDS
    fleet.clock.now += 0.02
    assert a.owned() == a.readable() == frozenset()


async def test_a_lease_outlives_a_short_outage_of_redis(fleet: Fleet) -> None:
    """A failed heartbeat does not end a lease; the next one renews it."""
    a = fleet.join("a")
    await a.step()
    fleet.clock.now += 1.0
    fleet.stores["a"].unreachable = True
    with pytest.raises(StoreUnreachable):
        await a.step()
    assert len(a.owned()) == SHARDS
    fleet.stores["a"].unreachable = False
    fleet.clock.now += 1.5
    await a.step()
    fleet.clock.now += 2.0
    assert len(a.owned()) == SHARDS


async def test_a_lease_of_another_process_ends_ownership(fleet: Fleet) -> None:
    """At the heartbeat that finds another owner in Redis."""
    a = fleet.join("a")
    await a.step()
    fakeredis.FakeRedis(server=fleet.server).set(keys.lease(3, "worker"), "somebody", px=60_000)
    fleet.clock.now += 1.0
    await a.step()
    assert a.owned() == frozenset(range(SHARDS)) - {3}


async def test_a_lease_that_expired_and_was_taken_again_is_announced(fleet: Fleet) -> None:
    """Another process may have owned the shard meanwhile."""
    taken: list[int] = []
    a = fleet.join("a")
    a.on_acquired = taken.append
    await a.step()
    fleet.clock.now += 1.0
    await a.step()
    assert sorted(taken) == list(range(SHARDS))
    fleet.clock.now += LEASE + 1
    await a.step()
    assert sorted(taken) == sorted([*range(SHARDS), *range(SHARDS)])


async def test_release_all_lets_others_take_over_at_once(fleet: Fleet) -> None:
    """After a drain, without waiting for leases to expire."""
    for name in "ab":
        fleet.join(name)
    await fleet.heartbeats(2)
    await fleet.members.pop("a").release_all()
    await fleet.heartbeats(1)
    assert fleet.spread() == [SHARDS]


async def test_edges_and_workers_do_not_share_leases(fleet: Fleet) -> None:
    """A shard has one owner of each role."""
    await fleet.join("w").step()
    edge = fleet.join("e", role="edge")
    await edge.step()
    assert edge.owned() == fleet.members["w"].owned() == frozenset(range(SHARDS))


async def test_a_shard_that_is_released_during_a_durable_renewal_stays_released(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reply to the renewal arrives after the release."""
    first, store = fleet.join("a"), fleet.stores["a"]
    await first.step()
    run = store.run

    async def slow(commands: list[Command], *, durable: bool = False) -> list[Any]:
        replies = await run(commands, durable=durable)
        if durable:
            await fleet.join("b").step()
            fleet.clock.now += LEASE / 3
            await first.step()
        return replies

    monkeypatch.setattr(store, "run", slow)
    assert await first.hold_durably(range(SHARDS)) == first.owned()
    assert len(first.owned()) == SHARDS / 2
