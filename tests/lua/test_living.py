"""record_heartbeat, acquire_lease, release_lease: which processes are alive and what they own."""

import time

from imc_common import keys
from tests.lua.shard import SHARD, Shard

LEASE = keys.lease(SHARD, "worker")


def test_a_heartbeat_gives_all_live_processes_in_order(shard: Shard) -> None:
    """Each process gets the same list, with itself."""
    assert shard.run("record_heartbeat", [keys.WORKERS], ["w2", 300_000]) == ["w2"]
    assert shard.run("record_heartbeat", [keys.WORKERS], ["w1", 300_000]) == ["w1", "w2"]
    assert shard.run("record_heartbeat", [keys.WORKERS], ["w2", 300_000]) == ["w1", "w2"]


def test_a_process_without_heartbeats_is_dead_after_its_ttl(shard: Shard) -> None:
    shard.run("record_heartbeat", [keys.WORKERS], ["w1", 300_000])
    shard.redis.zincrby(keys.WORKERS, -400_000, "w1")
    assert shard.run("record_heartbeat", [keys.WORKERS], ["w2", 300_000]) == ["w2"]


def test_a_dead_process_does_not_outlive_a_clock_that_was_set_back(shard: Shard) -> None:
    """Its heartbeat is an hour in the future."""
    shard.run("record_heartbeat", [keys.WORKERS], ["w1", 300_000])
    shard.redis.zincrby(keys.WORKERS, 3_600_000, "w1")
    assert shard.run("record_heartbeat", [keys.WORKERS], ["w2", 300_000]) == ["w2"]


def test_a_free_lease_is_taken(shard: Shard) -> None:
    """It lasts ttl_ms, and no other process gets it meanwhile."""
    assert shard.run("acquire_lease", [LEASE], ["w1", 300_000]) == 1
    assert 200_000 < shard.redis.pttl(LEASE) <= 300_000
    assert shard.run("acquire_lease", [LEASE], ["w2", 900_000]) == 0
    assert shard.redis.get(LEASE) == b"w1"
    assert shard.redis.pttl(LEASE) <= 300_000


def test_the_holder_renews_its_lease(shard: Shard) -> None:
    """The time counts from now."""
    shard.run("acquire_lease", [LEASE], ["w1", 300_000])
    shard.redis.pexpire(LEASE, 50_000)
    assert shard.run("acquire_lease", [LEASE], ["w1", 300_000]) == 1
    assert shard.redis.pttl(LEASE) > 200_000


def test_a_lease_expires(shard: Shard) -> None:
    """Then it is free."""
    shard.run("acquire_lease", [LEASE], ["w1", 20])
    time.sleep(0.05)
    assert shard.run("acquire_lease", [LEASE], ["w2", 300_000]) == 1


def test_a_lease_that_is_too_long_is_shortened(shard: Shard) -> None:
    """It was taken before Redis's clock was set back; its holder may be dead."""
    shard.run("acquire_lease", [LEASE], ["w1", 3_600_000])
    assert shard.run("acquire_lease", [LEASE], ["w2", 300_000]) == 0
    assert 0 < shard.redis.pttl(LEASE) <= 300_000


def test_only_the_holder_releases_a_lease(shard: Shard) -> None:
    shard.run("acquire_lease", [LEASE], ["w1", 300_000])
    assert shard.run("release_lease", [LEASE], ["w2"]) == 0
    assert shard.run("release_lease", [LEASE], ["w1"]) == 1
    assert shard.run("release_lease", [LEASE], ["w1"]) == 0
    assert shard.run("acquire_lease", [LEASE], ["w2", 300_000]) == 1
