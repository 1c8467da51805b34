"""accept, bury, settle, settle_delivered, claim_stream: how entries come into the streams and go."""

from typing import Any

import pytest
import redis

from imc_common import keys
from tests.lua.shard import ALICE, BOB, CAROL, IN, OUT, READER, ROOM, SHARD, Shard, decoded
from tests.patience import PATIENCE

RECENT, OLDER, CLOCK, _ = keys.accepting(SHARD)
DEAD = keys.dead(SHARD)
UNDELIVERED = keys.undelivered(SHARD)


def accept(shard: Shard, *fields: str, digest: str = "digest", max_backlog: int = 0) -> str:
    fields = fields or ("type", "message")
    args = [32000, max_backlog, "", digest, len(fields), *fields]
    (result,) = shard.run("accept_many", keys.accepting(SHARD), args)
    return str(result)


def was_seen(shard: Shard, digest: str) -> bool:
    return shard.run("find_duplicate", [RECENT, OLDER], [digest]) == "duplicate"


def entries(shard: Shard, stream: str) -> list[dict[str, str]]:
    return [fields for _, fields in decoded(shard.redis.xrange(stream))]


def event(shard: Shard, *to: str, name: str = "invited") -> str:
    """An event in the out-stream that an edge has read; its id."""
    fields = {"event": name, "room": ROOM, "from": ALICE, "to": " ".join(to)}
    entry_id = shard.redis.xadd(OUT, {**fields, "data": "\x81"})
    return str(decoded(entry_id))


def settle(shard: Shard, entry_id: str, *outcomes: Any, complete: bool = False, kept: int = 1000) -> str:
    """Runs settle; outcomes are recipient, status, receipt in turn."""
    args = [entry_id, int(complete), 60000, kept, "c1", *outcomes]
    return str(shard.run("settle", [OUT, IN, keys.settled(SHARD, entry_id), UNDELIVERED], args))


def test_accept_appends_the_request(shard: Shard) -> None:
    """The fields go in as given, and the request is remembered."""
    assert accept(shard, "type", "message", "from", ALICE, "data", "\x81") == "accepted"
    assert entries(shard, IN) == [{"type": "message", "from": ALICE, "data": "\x81"}]
    assert was_seen(shard, "digest")
    assert not was_seen(shard, "other")


def test_accept_knows_a_repetition(shard: Shard) -> None:
    """A second time changes no stream and prolongs the memory of the first."""
    accept(shard)
    shard.redis.rename(RECENT, OLDER)
    assert accept(shard) == "duplicate"
    assert len(entries(shard, IN)) == 1
    assert (shard.redis.smembers(RECENT), shard.redis.smembers(OLDER)) == ({b"digest"}, set())


def test_a_repetition_is_a_write(real_shard: Shard) -> None:
    """For WAIT and WAITAOF, which wait for what this connection wrote: the first may be another's."""
    accept(real_shard)
    client = real_shard.redis
    client.config_set("notify-keyspace-events", "Es")
    watcher = client.pubsub()
    watcher.psubscribe("*")
    assert accept(real_shard) == "duplicate"
    heard = [watcher.get_message(timeout=PATIENCE) for _ in range(3)]
    assert [message["channel"].partition(b":")[2] for message in heard[1:] if message] == [b"srem", b"sadd"]
    watcher.close()


def test_accept_refuses_over_the_backlog(shard: Shard) -> None:
    """A full stream takes nothing new and remembers nothing of it; a repetition is still known."""
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


def many(*digests: str, max_backlog: int = 0) -> list[Any]:
    """Arguments of accept_many: a message of each digest."""
    return [32000, max_backlog, "", *(part for digest in digests for part in (digest, 2, "type", "message"))]


def test_accept_many_knows_again_what_it_has_just_taken(shard: Shard) -> None:
    """Also when that has filled the stream."""
    results = shard.run("accept_many", keys.accepting(SHARD), many("a", "a", "b", max_backlog=1))
    assert results == ["accepted", "duplicate", "overloaded"]


@pytest.mark.parametrize("digests", [("new", "digest"), ("digest", "new")])
@pytest.mark.parametrize("where", [RECENT, OLDER])
def test_accept_many_at_the_end_of_a_span(shard: Shard, digests: tuple[str, str], where: str) -> None:
    """What came again is remembered for one more, and so is what is new, whichever comes first."""
    shard.redis.sadd(where, "digest")
    shard.redis.hset(CLOCK, "age_ms", "32000")
    results = shard.run("accept_many", keys.accepting(SHARD), many(*digests))
    assert dict(zip(digests, results, strict=True)) == {"new": "accepted", "digest": "duplicate"}
    assert shard.redis.smembers(RECENT) == {b"new", b"digest"}
    assert shard.redis.smembers(OLDER) == set()


def test_the_older_go_at_the_end_of_a_span_though_nothing_is_recent(shard: Shard) -> None:
    """There is nothing to take their place then."""
    shard.redis.sadd(OLDER, "digest")
    shard.redis.hset(CLOCK, "age_ms", "32000")
    accept(shard, digest="new")
    assert not was_seen(shard, "digest")
    assert was_seen(shard, "new")


@pytest.mark.parametrize("digests", [("new", "digest"), ("digest", "new"), ("new", "newer")])
@pytest.mark.parametrize("age", [0, 32000])
def test_a_full_redis_takes_nothing_new(real_shard: Shard, digests: tuple[str, str], age: int) -> None:
    """Whatever comes along with it: else repetitions would let in what there is no room for."""
    accept(real_shard)
    real_shard.redis.hset(CLOCK, "age_ms", age)
    before = real_shard.dump()
    real_shard.redis.config_set("maxmemory", 1)
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        real_shard.run("accept_many", keys.accepting(SHARD), many(*digests))
    assert real_shard.dump() == before


def test_a_full_redis_knows_a_repetition(real_shard: Shard) -> None:
    """It takes no memory."""
    accept(real_shard)
    real_shard.redis.config_set("maxmemory", 1)
    assert real_shard.run("accept_many", keys.accepting(SHARD), many("digest", "digest")) == ["duplicate"] * 2


@pytest.mark.parametrize("wrong", [RECENT, OLDER, CLOCK, IN])
def test_a_repetition_among_keys_of_a_wrong_type_changes_nothing(shard: Shard, wrong: str) -> None:
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


def test_what_was_seen_is_forgotten_after_one_to_two_spans(shard: Shard) -> None:
    """32 s in these tests; more than one thing is remembered, and none of them for ever."""
    accept(shard)
    pass_time(shard, 900, 36)
    assert was_seen(shard, "digest")
    assert not shard.redis.sismember(RECENT, "digest")
    assert shard.redis.sismember(OLDER, "digest")
    pass_time(shard, 900, 37)
    assert not was_seen(shard, "digest")
    assert accept(shard) == "accepted"


@pytest.mark.parametrize("milliseconds", [3_600_000, -3_600_000])
def test_a_clock_that_jumps_an_hour_makes_nothing_forgotten(shard: Shard, milliseconds: int) -> None:
    """Neither ahead nor back, again and again: a repetition is known."""
    accept(shard)
    for _ in range(10):
        pass_time(shard, milliseconds)
    assert accept(shard) == "duplicate"


def test_a_shard_that_nobody_speaks_to_keeps_nothing(shard: Shard) -> None:
    """After a day: a time-to-live that no jump of a clock comes near."""
    day = 24 * 3600 * 1000
    for repetition in (False, True):
        shard.redis.sadd(OLDER, "other")
        accept(shard, digest="digest")
        kept = (OLDER, RECENT, CLOCK)
        assert all(day - 60_000 < shard.redis.pttl(key) <= day for key in kept), repetition


def test_bury_moves_the_entry(shard: Shard) -> None:
    """Where it was, why and when stand before the entry's own fields; the stream is rid of it."""
    entry_id = shard.put("refused", ALICE, reason="its own")
    assert shard.run("move_to_dead_letters", [IN, DEAD], [entry_id, "WRONGTYPE", 1234]) == "done"
    (letter,) = entries(shard, DEAD)
    assert letter["reason"] == "its own"
    assert {name: letter[name] for name in letter if name.startswith("dead_")} == {
        "dead_stream": IN, "dead_entry": entry_id, "dead_reason": "WRONGTYPE", "dead_at": "1234",
    }  # fmt: skip
    assert entries(shard, IN) == []


def test_bury_once(shard: Shard) -> None:
    """A second run finds nothing."""
    entry_id = event(shard, BOB)
    shard.run("move_to_dead_letters", [OUT, DEAD], [entry_id, "why", 1])
    assert shard.run("move_to_dead_letters", [OUT, DEAD], [entry_id, "why", 1]) == "gone"
    assert len(entries(shard, DEAD)) == 1


def test_retry_puts_the_entry_back_as_it_was(shard: Shard) -> None:
    """Its own fields, without what was written about its end; a second run finds nothing."""
    entry_id = shard.put("refused", ALICE, reason="its own")
    (before,) = entries(shard, IN)
    shard.run("move_to_dead_letters", [IN, DEAD], [entry_id, "why", 1])
    [(letter, _)] = shard.redis.xrange(DEAD)
    assert shard.run("retry_dead_letter", [DEAD, IN], [letter]) == "done"
    assert entries(shard, IN) == [before]
    assert entries(shard, DEAD) == []
    assert shard.run("retry_dead_letter", [DEAD, IN], [letter]) == "gone"


def test_settle_remembers_who_answered(shard: Shard) -> None:
    """A half-delivered event stays, with the recipients that are done, for a while."""
    entry_id = event(shard, BOB, CAROL)
    assert settle(shard, entry_id, BOB, "200", 0) == "done"
    assert decoded(shard.redis.smembers(keys.settled(SHARD, entry_id))) == {BOB}
    assert 20_000 < shard.redis.pttl(keys.settled(SHARD, entry_id)) <= 60000
    assert len(entries(shard, OUT)) == 1
    assert entries(shard, UNDELIVERED) == entries(shard, IN) == []


def test_settle_complete(shard: Shard) -> None:
    """When all are done, nothing of the event is left."""
    entry_id = event(shard, BOB, CAROL)
    settle(shard, entry_id, BOB, "200", 0)
    assert settle(shard, entry_id, CAROL, "202", 0, complete=True) == "done"
    assert entries(shard, OUT) == []
    assert not shard.redis.exists(keys.settled(SHARD, entry_id))


def test_settle_writes_a_receipt(shard: Shard) -> None:
    """What the worker must act on: a request of type receipt, and an entry of undelivered without data."""
    entry_id = event(shard, BOB)
    settle(shard, entry_id, BOB, "404", 1, complete=True)
    failure = {
        "event": "invited", "from": BOB, "room": ROOM, "user": ALICE, "status": "404", "of": entry_id,
    }  # fmt: skip
    assert entries(shard, UNDELIVERED) == [{**failure, "call_id": "c1"}]
    assert entries(shard, IN) == [{**failure, "type": "receipt", "data": "\x81"}]


def test_settle_counts_a_failure_without_receipt(shard: Shard) -> None:
    """A failure nobody has to act on is only kept."""
    settle(shard, event(shard, BOB), BOB, "500", 0, complete=True)
    assert len(entries(shard, UNDELIVERED)) == 1
    assert entries(shard, IN) == []


def test_settle_counts_each_recipient_once(shard: Shard) -> None:
    """An edge that reports again, before or with the end, adds nothing."""
    entry_id = event(shard, BOB, CAROL)
    settle(shard, entry_id, BOB, "404", 1)
    settle(shard, entry_id, BOB, "404", 1)
    settle(shard, entry_id, BOB, "408", 1, CAROL, "200", 0, complete=True)
    assert len(entries(shard, UNDELIVERED)) == len(entries(shard, IN)) == 1


def test_settle_after_the_end(shard: Shard) -> None:
    """A late report of a complete event changes nothing."""
    entry_id = event(shard, BOB)
    settle(shard, entry_id, BOB, "200", 0, complete=True)
    before = shard.dump()
    assert settle(shard, entry_id, BOB, "404", 1, complete=True) == "gone"
    assert settle(shard, entry_id, BOB, "404", 1) == "gone"
    assert shard.dump() == before


def test_undelivered_is_bounded(real_shard: Shard) -> None:
    """The oldest failures go; Redis trims by whole nodes of 100 entries."""
    for _ in range(5):
        outcomes = [word for number in range(100) for word in (f"user{number}@x", "500", 0)]
        settle(real_shard, event(real_shard, "all@x"), *outcomes, complete=True, kept=100)
    assert 100 <= real_shard.redis.xlen(UNDELIVERED) <= 200


def test_settle_delivered(shard: Shard) -> None:
    """Many events at once; those that are gone already are no error."""
    ids = [event(shard, BOB) for _ in range(3)]
    assert shard.run("settle_delivered", [OUT], [*ids, "1-1"]) == 3
    assert entries(shard, OUT) == []
    assert shard.run("settle_delivered", [OUT], ids) == 0


def test_settle_delivered_of_many(real_shard: Shard) -> None:
    """More ids than Lua unpacks at once."""
    pipeline = real_shard.redis.pipeline(transaction=False)
    for number in range(2500):
        pipeline.xadd(OUT, {"event": "message"}, id=f"1-{number + 1}")
    ids = decoded(pipeline.execute())
    assert real_shard.run("settle_delivered", [OUT], ids) == 2500
    assert real_shard.redis.xlen(OUT) == 0


def test_start_shard_once(shard: Shard) -> None:
    """Groups are made where there are none, and only there."""
    assert shard.start() == ["0-0", "0-0"]
    shard.redis.delete(OUT)
    assert shard.start() == ["0-0", "0-0"]
    assert groups(shard, OUT) == {keys.group(READER)}


def test_start_shard_tells_how_far_each_stream_was_read(shard: Shard) -> None:
    """Also past entries that were handled since; what lies behind is new."""
    first, second, _ = (shard.put("message", ALICE) for _ in range(3))
    read(shard, IN, 2)
    shard.redis.xdel(IN, first, second)
    assert shard.start() == [second, "0-0"]


def test_start_shard_reads_from_the_beginning(shard: Shard) -> None:
    """What lies in a stream that lost its group is read all the same."""
    shard.redis.delete(IN)
    entry_id = shard.put("message", ALICE)
    shard.start()
    assert read(shard, IN) == [entry_id]


def test_start_shard_beside_another_group(shard: Shard) -> None:
    """Somebody else's group on the stream is not ours."""
    shard.redis.delete(IN)
    shard.redis.xgroup_create(IN, "audit", "0", mkstream=True)
    shard.start()
    shard.start("next")
    assert groups(shard, IN) == {"audit", keys.group("next")}


def test_start_shard_ends_the_former_owners_reads(shard: Shard) -> None:
    """A read of its that comes late takes nothing; its successor goes on where it was, with what it knew."""
    first, second = (shard.put("message", ALICE) for _ in range(2))
    read(shard, IN, 1)
    assert shard.start("next") == [first, "0-0"]
    with pytest.raises(redis.ResponseError, match="NOGROUP"):
        read(shard, IN)
    assert read(shard, IN, reader="next") == [second]
    (about,) = decoded(shard.redis.xinfo_groups(IN))
    assert (about["entries-read"], about["lag"]) == (2, 0)


def test_start_shard_is_for_the_holder_of_the_lease(shard: Shard) -> None:
    """One that lost it unnoticed does not take the stream back."""
    shard.redis.set(keys.lease(SHARD, "worker"), "next")
    shard.start("next")
    assert shard.start(READER) == ["lost", "0-0"]
    assert groups(shard, IN) == {keys.group("next")}


def test_list_handed_out(shard: Shard) -> None:
    """What was read and is there still, a page at a time; nothing that nobody has read."""
    ids = [event(shard, BOB) for _ in range(4)]
    assert shard.run("list_pending", [OUT], ["-", 10]) == []
    read(shard, OUT, 3)
    shard.redis.xdel(OUT, ids[1])
    assert shard.run("list_pending", [OUT], ["-", 10]) == [ids[0], ids[2]]
    assert shard.run("list_pending", [OUT], ["-", 1]) == [ids[0]]
    assert shard.run("list_pending", [OUT], [f"({ids[0]}", 10]) == [ids[2]]
    shard.redis.delete(OUT)
    assert shard.run("list_pending", [OUT], ["-", 10]) == []


def groups(shard: Shard, stream: str) -> set[str]:
    """The names of the stream's groups."""
    return {group["name"] for group in decoded(shard.redis.xinfo_groups(stream))}


def read(shard: Shard, stream: str, count: int = 100, reader: str = READER) -> list[str]:
    """The ids that a reader is handed."""
    group = keys.group(reader)
    ((_, found),) = shard.redis.xreadgroup(group, keys.CONSUMER, {stream: ">"}, count=count, noack=True)
    return [str(decoded(entry_id)) for entry_id, _ in found]
