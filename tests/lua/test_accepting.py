"""accept_many and find_duplicate: a request enters the in-stream once, and its digest is kept for a while."""

from typing import Any

import pytest
import redis

from imc_common import keys
from tests.lua.shard import ALICE, IN, ROOM, SHARD, Shard, entries
from tests.patience import PATIENCE

RECENT, OLDER, CLOCK, _ = keys.accepting(SHARD)


def accept(shard: Shard, *fields: str, digest: str = "digest", max_backlog: int = 0) -> str:
    fields = fields or ("type", "message")
    args = [32000, max_backlog, "", digest, len(fields), *fields]
    (result,) = shard.run("accept_many", keys.accepting(SHARD), args)
    return str(result)


def was_seen(shard: Shard, digest: str) -> bool:
    return shard.run("find_duplicate", [RECENT, OLDER], [digest]) == "duplicate"


def test_accept_appends_the_request(shard: Shard) -> None:
    """With its fields as given; its digest is stored."""
    assert accept(shard, "type", "message", "from", ALICE, "data", "\x81") == "accepted"
    assert entries(shard, IN) == [{"type": "message", "from": ALICE, "data": "\x81"}]
    assert was_seen(shard, "digest")
    assert not was_seen(shard, "other")


def test_a_duplicate_is_recognised(shard: Shard) -> None:
    """It changes no stream; its digest is stored for as long again."""
    accept(shard)
    shard.redis.rename(RECENT, OLDER)
    assert accept(shard) == "duplicate"
    assert len(entries(shard, IN)) == 1
    assert (shard.redis.smembers(RECENT), shard.redis.smembers(OLDER)) == ({b"digest"}, set())


def test_a_duplicate_is_a_write(real_shard: Shard) -> None:
    """So that WAIT and WAITAOF cover the first copy, which another connection may have written."""
    accept(real_shard)
    client = real_shard.redis
    client.config_set("notify-keyspace-events", "Es")
    watcher = client.pubsub()
    watcher.psubscribe("*")
    assert accept(real_shard) == "duplicate"
    heard = [watcher.get_message(timeout=PATIENCE) for _ in range(3)]
    assert [message["channel"].partition(b":")[2] for message in heard[1:] if message] == [b"srem", b"sadd"]
    watcher.close()


def test_requests_beyond_the_backlog_are_refused(shard: Shard) -> None:
    """Their digests are not stored; duplicates are still recognised."""
    assert accept(shard, max_backlog=1) == "accepted"
    assert accept(shard, digest="other", max_backlog=1) == "overloaded"
    assert not was_seen(shard, "other")
    assert accept(shard, max_backlog=1) == "duplicate"
    assert len(entries(shard, IN)) == 1


def test_accept_many_takes_each_as_accept_would(shard: Shard) -> None:
    """New ones, one that was there before, one that comes twice, and what the stream has no room for."""
    accept(shard, "type", "message", "data", "first")
    digests = ["a", "digest", "a", "b", "c"]
    wanted = [
        part
        for digest, number in zip(digests, "12345", strict=True)
        for part in (digest, 4, "type", "message", "data", number)
    ]
    results = shard.run("accept_many", keys.accepting(SHARD), [32000, 3, "", *wanted])
    assert results == ["accepted", "duplicate", "duplicate", "accepted", "overloaded"]
    assert [entry["data"] for entry in entries(shard, IN)] == ["first", "1", "4"]
    assert [was_seen(shard, digest) for digest in "abc"] == [True, True, False]


def test_a_message_of_three_values_is_one_with_the_usual_fields(shard: Shard) -> None:
    """Between others, which name their fields."""
    usual = {"type": "message", "from": ALICE, "room": ROOM, "data": "1"}
    listed = ["type", "list", "from", ALICE, "room", ROOM]
    wanted = [
        "a",
        0,
        ALICE,
        ROOM,
        "1",
        "b",
        len(listed),
        *listed,
        "c",
        0,
        ALICE,
        ROOM,
        "1",
        "a",
        0,
        "",
        "",
        "",
    ]
    results = shard.run("accept_many", keys.accepting(SHARD), [32000, 0, "", *wanted])
    assert results == ["accepted", "accepted", "accepted", "duplicate"]
    assert entries(shard, IN) == [usual, {"type": "list", "from": ALICE, "room": ROOM}, usual]


@pytest.mark.parametrize("wanted", [["a", 0, ALICE, ROOM], ["a", 0, ALICE, ROOM, "", "b"], ["a", 1, "type"]])
def test_incomplete_requests_change_nothing(shard: Shard, wanted: list[Any]) -> None:
    before = shard.dump()
    with pytest.raises(redis.ResponseError, match="fields and values"):
        shard.run("accept_many", keys.accepting(SHARD), [32000, 0, "", *wanted])
    assert shard.dump() == before


def many(*digests: str, max_backlog: int = 0) -> list[Any]:
    """Arguments of accept_many: a message of each digest."""
    return [32000, max_backlog, "", *(part for digest in digests for part in (digest, 2, "type", "message"))]


def test_accept_many_recognises_what_it_has_just_accepted(shard: Shard) -> None:
    """Also if that has filled the stream."""
    results = shard.run("accept_many", keys.accepting(SHARD), many("a", "a", "b", max_backlog=1))
    assert results == ["accepted", "duplicate", "overloaded"]


@pytest.mark.parametrize("digests", [("new", "digest"), ("digest", "new")])
@pytest.mark.parametrize("where", [RECENT, OLDER])
def test_accept_many_when_the_sets_of_digests_are_swapped(
    shard: Shard, digests: tuple[str, str], where: str
) -> None:
    """Duplicates and new requests are both kept for another span."""
    shard.redis.sadd(where, "digest")
    shard.redis.hset(CLOCK, "age_ms", "32000")
    results = shard.run("accept_many", keys.accepting(SHARD), many(*digests))
    assert dict(zip(digests, results, strict=True)) == {"new": "accepted", "digest": "duplicate"}
    assert shard.redis.smembers(RECENT) == {b"new", b"digest"}
    assert shard.redis.smembers(OLDER) == set()


def test_old_digests_are_deleted_although_there_are_no_recent_ones(shard: Shard) -> None:
    shard.redis.sadd(OLDER, "digest")
    shard.redis.hset(CLOCK, "age_ms", "32000")
    accept(shard, digest="new")
    assert not was_seen(shard, "digest")
    assert was_seen(shard, "new")


@pytest.mark.parametrize("digests", [("new", "digest"), ("digest", "new"), ("new", "newer")])
@pytest.mark.parametrize("age", [0, 32000])
def test_a_full_redis_accepts_nothing_new(real_shard: Shard, digests: tuple[str, str], age: int) -> None:
    """Also if a duplicate comes with it: its write must not open the way for others."""
    accept(real_shard)
    real_shard.redis.hset(CLOCK, "age_ms", age)
    before = real_shard.dump()
    real_shard.redis.config_set("maxmemory", 1)
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        real_shard.run("accept_many", keys.accepting(SHARD), many(*digests))
    assert real_shard.dump() == before


def test_a_full_redis_recognises_a_duplicate(real_shard: Shard) -> None:
    """That takes no memory."""
    accept(real_shard)
    real_shard.redis.config_set("maxmemory", 1)
    assert real_shard.run("accept_many", keys.accepting(SHARD), many("digest", "digest")) == ["duplicate"] * 2


@pytest.mark.parametrize("wrong", [RECENT, OLDER, CLOCK, IN])
def test_a_duplicate_with_keys_of_a_wrong_type_changes_nothing(shard: Shard, wrong: str) -> None:
    """As a new request would not."""
    for place in {RECENT, OLDER} - {wrong}:
        shard.redis.sadd(place, "digest")
    shard.redis.set(wrong, "no such thing")
    before = shard.dump()
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        accept(shard)
    assert shard.dump() == before


def pass_time(shard: Shard, milliseconds: int, requests: int = 1) -> None:
    """So many requests come in after so long each: the clock's last look is that much longer ago."""
    for number in range(requests):
        at = int(shard.redis.hget(CLOCK, "at_ms") or 0)  # type: ignore[arg-type]
        shard.redis.hset(CLOCK, "at_ms", str(at - milliseconds))
        accept(shard, digest=f"{milliseconds} {number} {shard.redis.xlen(IN)}")


def test_digests_are_kept_for_one_to_two_spans(shard: Shard) -> None:
    """A span is 32 s in these tests."""
    accept(shard)
    pass_time(shard, 900, 36)
    assert was_seen(shard, "digest")
    assert not shard.redis.sismember(RECENT, "digest")
    assert shard.redis.sismember(OLDER, "digest")
    pass_time(shard, 900, 37)
    assert not was_seen(shard, "digest")
    assert accept(shard) == "accepted"


def test_the_clock_follows_although_it_is_not_written_each_time(shard: Shard) -> None:
    """Set back, or after more than a moment."""
    accept(shard)
    before = shard.redis.hgetall(CLOCK)
    at = int(before[b"at_ms"])
    shard.redis.hset(CLOCK, "at_ms", str(at + 3_600_000))  # set back: the clock follows at once
    accept(shard, digest="back")
    assert int(shard.redis.hget(CLOCK, "at_ms") or 0) < at + 3_600_000  # type: ignore[arg-type]
    shard.redis.hset(CLOCK, mapping={"at_ms": at - 90_000, "age_ms": "0"})
    accept(shard, digest="later")  # more than a moment ago: a second counts
    assert shard.redis.hget(CLOCK, "age_ms") == b"1000"
    assert int(shard.redis.hget(CLOCK, "at_ms") or 0) >= at  # type: ignore[arg-type]


@pytest.mark.parametrize("milliseconds", [3_600_000, -3_600_000])
def test_a_clock_that_jumps_deletes_no_digest(shard: Shard, milliseconds: int) -> None:
    """By an hour, forward or back, repeatedly."""
    accept(shard)
    for _ in range(10):
        pass_time(shard, milliseconds)
    assert accept(shard) == "duplicate"


def test_digests_of_an_unused_shard_are_deleted(shard: Shard) -> None:
    """After a day, which no jump of a clock comes near."""
    day = 24 * 3600 * 1000
    for again in (False, True):
        shard.redis.sadd(OLDER, "other")
        accept(shard, digest="digest")
        kept = (OLDER, RECENT, CLOCK)
        assert all(day - 60_000 < shard.redis.pttl(key) <= day for key in kept), again


@pytest.mark.parametrize("occasion", ["a minute later", "the sets are swapped", "a duplicate"])
def test_digests_of_a_shard_in_use_stay(shard: Shard, occasion: str) -> None:
    """A request prolongs the keys once a minute: more often would only cost Redis writes."""
    day = 24 * 3600 * 1000
    accept(shard)
    for key in (RECENT, CLOCK):
        shard.redis.pexpire(key, 100_000)
    if occasion == "a minute later":
        pass_time(shard, 60_000)
    elif occasion == "the sets are swapped":
        shard.redis.hset(CLOCK, "age_ms", "32000")
        accept(shard, digest="other")
    else:
        assert accept(shard) == "duplicate"
    kept = [key for key in (RECENT, OLDER, CLOCK) if shard.redis.exists(key)]
    assert len(kept) == 2 + (occasion == "the sets are swapped")
    assert all(day - 60_000 < shard.redis.pttl(key) <= day for key in kept)
