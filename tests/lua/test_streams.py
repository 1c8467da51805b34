"""Dead letters, claim_stream, list_pending: how entries are read, and leave a stream unhandled."""

import pytest
import redis

from imc_common import keys
from tests.lua.shard import ALICE, BOB, IN, OUT, READER, SHARD, Shard, decoded, entries, put_event

DEAD = keys.dead(SHARD)


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
    entry_id = put_event(shard, BOB)
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
    ids = [put_event(shard, BOB) for _ in range(4)]
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
