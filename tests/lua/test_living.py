"""heartbeat, take_lease, release_lease: who lives and who owns what."""

import time

from imc_common import keys
from tests.lua.shard import SHARD, Shard

LEASE = keys.lease(SHARD, "worker")


def test_heartbeat_gives_the_living_sorted(shard: Shard) -> None:
    """Each process learns the ids of all, itself too, in the same order."""
    assert shard.run("record_heartbeat", [keys.WORKERS], ["w2", 300_000]) == ["w2"]
    assert shard.run("record_heartbeat", [keys.WORKERS], ["w1", 300_000]) == ["w1", "w2"]
    assert shard.run("record_heartbeat", [keys.WORKERS], ["w2", 300_000]) == ["w1", "w2"]


def test_the_silent_are_dropped(shard: Shard) -> None:
    """Who has not beaten for ttl_ms is no longer there."""
    shard.run("record_heartbeat", [keys.WORKERS], ["w1", 300_000])
    shard.redis.zincrby(keys.WORKERS, -400_000, "w1")
    assert shard.run("record_heartbeat", [keys.WORKERS], ["w2", 300_000]) == ["w2"]


def test_clock_put_back(shard: Shard) -> None:
    """A dead process does not live on for the hour the server's clock was put back."""
    shard.run("record_heartbeat", [keys.WORKERS], ["w1", 300_000])
    shard.redis.zincrby(keys.WORKERS, 3_600_000, "w1")
    assert shard.run("record_heartbeat", [keys.WORKERS], ["w2", 300_000]) == ["w2"]


def test_a_free_lease_is_taken(shard: Shard) -> None:
    """It holds for ttl_ms, and nobody else gets it meanwhile."""
    assert shard.run("take_lease", [LEASE], ["w1", 300_000]) == 1
    assert 200_000 < shard.redis.pttl(LEASE) <= 300_000
    assert shard.run("take_lease", [LEASE], ["w2", 900_000]) == 0
    assert shard.redis.get(LEASE) == b"w1"
    assert shard.redis.pttl(LEASE) <= 300_000


def test_ones_own_lease_is_prolonged(shard: Shard) -> None:
    """Taking it again counts from now."""
    shard.run("take_lease", [LEASE], ["w1", 300_000])
    shard.redis.pexpire(LEASE, 50_000)
    assert shard.run("take_lease", [LEASE], ["w1", 300_000]) == 1
    assert shard.redis.pttl(LEASE) > 200_000


def test_a_lease_runs_out(shard: Shard) -> None:
    """Then it is free."""
    shard.run("take_lease", [LEASE], ["w1", 20])
    time.sleep(0.05)
    assert shard.run("take_lease", [LEASE], ["w2", 300_000]) == 1


def test_a_clock_that_is_put_back_keeps_no_lease_of_the_dead(shard: Shard) -> None:
    """Taken while Redis's clock was an hour ahead: who wants the shard cuts it to what one may ask for."""
    shard.run("take_lease", [LEASE], ["w1", 3_600_000])
    assert shard.run("take_lease", [LEASE], ["w2", 300_000]) == 0
    assert 0 < shard.redis.pttl(LEASE) <= 300_000


def test_release(shard: Shard) -> None:
    """Only the holder gives a lease back."""
    shard.run("take_lease", [LEASE], ["w1", 300_000])
    assert shard.run("release_lease", [LEASE], ["w2"]) == 0
    assert shard.run("release_lease", [LEASE], ["w1"]) == 1
    assert shard.run("release_lease", [LEASE], ["w1"]) == 0
    assert shard.run("take_lease", [LEASE], ["w2", 300_000]) == 1
