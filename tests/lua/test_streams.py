"""accept_many, settle, settle_delivered, dead letters, claim_stream, list_pending: how entries enter and
leave streams."""

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


def test_a_dead_letter_has_the_entry_its_stream_the_reason_and_the_time(shard: Shard) -> None:
    """The entry leaves its stream."""
    entry_id = shard.put("refused", ALICE, reason="its own")
    assert shard.run("move_to_dead_letters", [IN, DEAD], [entry_id, "WRONGTYPE", 1234]) == "done"
    (letter,) = entries(shard, DEAD)
    assert letter["reason"] == "its own"
    assert {name: letter[name] for name in letter if name.startswith("dead_")} == {
        "dead_stream": IN, "dead_entry": entry_id, "dead_reason": "WRONGTYPE", "dead_at": "1234",
    }  # fmt: skip
    assert entries(shard, IN) == []


def test_an_entry_becomes_a_dead_letter_once(shard: Shard) -> None:
    entry_id = event(shard, BOB)
    shard.run("move_to_dead_letters", [OUT, DEAD], [entry_id, "why", 1])
    assert shard.run("move_to_dead_letters", [OUT, DEAD], [entry_id, "why", 1]) == "gone"
    assert len(entries(shard, DEAD)) == 1


def test_a_retried_dead_letter_is_the_entry_as_it_was(shard: Shard) -> None:
    """Without the dead_ fields; a second run finds nothing."""
    entry_id = shard.put("refused", ALICE, reason="its own")
    (before,) = entries(shard, IN)
    shard.run("move_to_dead_letters", [IN, DEAD], [entry_id, "why", 1])
    [(letter, _)] = shard.redis.xrange(DEAD)
    assert shard.run("retry_dead_letter", [DEAD, IN], [letter]) == "done"
    assert entries(shard, IN) == [before]
    assert entries(shard, DEAD) == []
    assert shard.run("retry_dead_letter", [DEAD, IN], [letter]) == "gone"


def test_settle_keeps_the_recipients_of_an_incomplete_event(shard: Shard) -> None:
    """For a while; the event stays."""
    entry_id = event(shard, BOB, CAROL)
    assert settle(shard, entry_id, BOB, "200", 0) == "done"
    assert decoded(shard.redis.smembers(keys.settled(SHARD, entry_id))) == {BOB}
    assert 20_000 < shard.redis.pttl(keys.settled(SHARD, entry_id)) <= 60000
    assert len(entries(shard, OUT)) == 1
    assert entries(shard, UNDELIVERED) == entries(shard, IN) == []


def test_settle_deletes_a_complete_event(shard: Shard) -> None:
    """Nothing of it is left."""
    entry_id = event(shard, BOB, CAROL)
    settle(shard, entry_id, BOB, "200", 0)
    assert settle(shard, entry_id, CAROL, "202", 0, complete=True) == "done"
    assert entries(shard, OUT) == []
    assert not shard.redis.exists(keys.settled(SHARD, entry_id))


def test_settle_appends_a_receipt_that_the_worker_must_act_on(shard: Shard) -> None:
    """A request of type receipt, and an entry of undelivered without data."""
    entry_id = event(shard, BOB)
    settle(shard, entry_id, BOB, "404", 1, complete=True)
    failure = {
        "event": "invited", "from": BOB, "room": ROOM, "user": ALICE, "status": "404", "of": entry_id,
    }  # fmt: skip
    assert entries(shard, UNDELIVERED) == [{**failure, "call_id": "c1"}]
    assert entries(shard, IN) == [{**failure, "type": "receipt", "data": "\x81"}]


@pytest.mark.parametrize("status", ["200", "480", "away"])
def test_the_receipt_of_a_message_names_its_place_and_leaves_its_body_out(shard: Shard, status: str) -> None:
    """A worker may also wait for a 2xx. What was not even sent is no failure to look into."""
    fields = {"event": "message", "room": ROOM, "from": ALICE, "to": BOB, "data": "\x81", "history_id": "1-5"}
    entry_id = str(decoded(shard.redis.xadd(OUT, {**fields, "catch_up": "more"})))
    settle(shard, entry_id, BOB, status, 1, complete=True)
    assert entries(shard, IN) == [
        {
            "type": "receipt", "event": "message", "from": BOB, "room": ROOM, "user": ALICE, "status": status,
            "of": entry_id, "history_id": "1-5", "catch_up": "more", "data": "",
        }
    ]  # fmt: skip
    assert len(entries(shard, UNDELIVERED)) == (status == "480")


def test_a_live_message_is_named_by_its_own_id(shard: Shard) -> None:
    """It is the id of its place in the history."""
    entry_id = event(shard, BOB, name="message")
    settle(shard, entry_id, BOB, "480", 1, complete=True)
    (receipt,) = entries(shard, IN)
    assert (receipt["history_id"], receipt["catch_up"]) == (entry_id, "")


def test_a_failed_probe_is_not_kept_as_a_failure(shard: Shard) -> None:
    """Probes fail until the user is back: they would push all other failures out."""
    fields = {"event": "message", "room": ROOM, "from": ALICE, "to": BOB, "data": "", "catch_up": "probe"}
    settle(shard, str(decoded(shard.redis.xadd(OUT, fields))), BOB, "480", 1, complete=True)
    assert (len(entries(shard, IN)), entries(shard, UNDELIVERED)) == (1, [])


def test_settle_keeps_a_failure_without_a_receipt(shard: Shard) -> None:
    settle(shard, event(shard, BOB), BOB, "500", 0, complete=True)
    assert len(entries(shard, UNDELIVERED)) == 1
    assert entries(shard, IN) == []


def test_settle_counts_each_recipient_once(shard: Shard) -> None:
    """A second report, before or with the end of the event, adds nothing."""
    entry_id = event(shard, BOB, CAROL)
    settle(shard, entry_id, BOB, "404", 1)
    settle(shard, entry_id, BOB, "404", 1)
    settle(shard, entry_id, BOB, "408", 1, CAROL, "200", 0, complete=True)
    assert len(entries(shard, UNDELIVERED)) == len(entries(shard, IN)) == 1


def test_settle_of_a_complete_event_changes_nothing(shard: Shard) -> None:
    entry_id = event(shard, BOB)
    settle(shard, entry_id, BOB, "200", 0, complete=True)
    before = shard.dump()
    assert settle(shard, entry_id, BOB, "404", 1, complete=True) == "gone"
    assert settle(shard, entry_id, BOB, "404", 1) == "gone"
    assert shard.dump() == before


def test_undelivered_is_bounded(real_shard: Shard) -> None:
    """Redis trims the oldest in nodes of 100 entries."""
    for _ in range(5):
        outcomes = [word for number in range(100) for word in (f"user{number}@x", "500", 0)]
        settle(real_shard, event(real_shard, "all@x"), *outcomes, complete=True, kept=100)
    assert 100 <= real_shard.redis.xlen(UNDELIVERED) <= 200


def test_settle_delivered_deletes_many_events(shard: Shard) -> None:
    """Those that no longer exist are no error."""
    ids = [event(shard, BOB) for _ in range(3)]
    assert shard.run("settle_delivered", [OUT], [*ids, "1-1"]) == 3
    assert entries(shard, OUT) == []
    assert shard.run("settle_delivered", [OUT], ids) == 0


def test_settle_delivered_takes_more_ids_than_lua_can_unpack(real_shard: Shard) -> None:
    pipeline = real_shard.redis.pipeline(transaction=False)
    for number in range(2500):
        pipeline.xadd(OUT, {"event": "message"}, id=f"1-{number + 1}")
    ids = decoded(pipeline.execute())
    assert real_shard.run("settle_delivered", [OUT], ids) == 2500
    assert real_shard.redis.xlen(OUT) == 0


def test_a_stream_is_claimed_once(shard: Shard) -> None:
    """A group is created only if there is none."""
    assert shard.start() == ["0-0", "0-0"]
    shard.redis.delete(OUT)
    assert shard.start() == ["0-0", "0-0"]
    assert groups(shard, OUT) == {keys.group(READER)}


def test_claim_gives_the_last_entry_that_was_read(shard: Shard) -> None:
    """Even if that entry was handled since; everything behind it is new."""
    first, second, _ = (shard.put("message", ALICE) for _ in range(3))
    read(shard, IN, 2)
    shard.redis.xdel(IN, first, second)
    assert shard.start() == [second, "0-0"]


def test_a_stream_without_a_group_is_read_from_its_first_entry(shard: Shard) -> None:
    shard.redis.delete(IN)
    entry_id = shard.put("message", ALICE)
    shard.start()
    assert read(shard, IN) == [entry_id]


def test_claim_keeps_groups_of_others(shard: Shard) -> None:
    shard.redis.delete(IN)
    shard.redis.xgroup_create(IN, "audit", "0", mkstream=True)
    shard.start()
    shard.start("next")
    assert groups(shard, IN) == {"audit", keys.group("next")}


def test_claim_ends_the_reads_of_the_former_owner(shard: Shard) -> None:
    """Its late read gets nothing; the new owner continues where it was."""
    first, second = (shard.put("message", ALICE) for _ in range(2))
    read(shard, IN, 1)
    assert shard.start("next") == [first, "0-0"]
    with pytest.raises(redis.ResponseError, match="NOGROUP"):
        read(shard, IN)
    assert read(shard, IN, reader="next") == [second]
    (about,) = decoded(shard.redis.xinfo_groups(IN))
    assert (about["entries-read"], about["lag"]) == (2, 0)


def test_only_the_holder_of_the_lease_claims_a_stream(shard: Shard) -> None:
    shard.redis.set(keys.lease(SHARD, "worker"), "next")
    shard.start("next")
    assert shard.start(READER) == ["lost", "0-0"]
    assert groups(shard, IN) == {keys.group("next")}


def test_list_pending_gives_what_was_read_and_exists(shard: Shard) -> None:
    """One page at a time; nothing that was not read."""
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
