"""Which messages one script may handle."""

from __future__ import annotations

import pytest

from imc_worker.dispatcher import PendingEntry
from imc_worker.message_batches import MAX_BATCH, leading_messages


def entries(*kinds: str) -> list[PendingEntry]:
    """Entries given as shard and type: ``3m`` a message of shard 3, ``3j`` something else."""
    names = {"m": b"message", "j": b"join"}
    return [(int(kind[:-1]), b"1-1", [b"type", names[kind[-1]], b"from", b"a@b"]) for kind in kinds]


def test_messages_of_all_shards_share_a_script() -> None:
    """Each shard's in their order."""
    assert leading_messages(entries("1m", "2m", "1m", "3m", "1m", "2m")) == [[[0, 2, 4], [1, 5], [3]]]


def test_a_script_may_be_for_one_shard_only() -> None:
    """As on a Cluster; messages of other shards between them do not matter."""
    found = leading_messages(entries("1m", "2m", "1m", "3m", "2m", "1m"), spans_shards=False)
    assert found == [[[0, 2, 5]], [[1, 4]]]


@pytest.mark.parametrize("spans_shards", [True, False])
def test_a_message_behind_another_request_waits_for_it(spans_shards: bool) -> None:
    """A join must take effect before the next message."""
    for kinds, found in [("1m 1m 1j 1m 1m", [[[0, 1]]]), ("1j 1m 1m 2m 2m", [[[3, 4]]])]:
        assert leading_messages(entries(*kinds.split()), spans_shards=spans_shards) == found


def test_a_message_that_is_not_delivered_is_no_plain_one() -> None:
    """Nor is what is behind it in its shard."""
    undelivered = {(1, b"1-1")}
    assert leading_messages(entries("1m", "2m", "1m", "2m"), undelivered) == [[[1, 3]]]


def test_a_single_message_is_no_batch() -> None:
    """It gets a script of its own."""
    assert leading_messages(entries("1m", "3j")) == []
    assert leading_messages(entries("1m", "2m", "3j"), spans_shards=False) == []


@pytest.mark.parametrize("spans_shards", [True, False])
def test_scripts_are_bounded(spans_shards: bool) -> None:
    """Redis does nothing else while a script runs."""
    many = leading_messages(entries(*["1m"] * (2 * MAX_BATCH + 5)), spans_shards=spans_shards)
    assert [len(batch) for (batch,) in many] == [MAX_BATCH, MAX_BATCH, 5]
    (rest,) = leading_messages(entries(*["1m"] * (MAX_BATCH + 1)), spans_shards=spans_shards)
    assert [len(batch) for batch in rest] == [MAX_BATCH]


def test_a_script_of_many_shards_is_bounded_as_well() -> None:
    """What does not fit goes into the next script, in order."""
    count = MAX_BATCH + 16
    scripts = leading_messages(entries(*[f"{at % 10}m" for at in range(count)]))
    assert [sum(map(len, script)) for script in scripts] == [MAX_BATCH, 16]
    for shard in range(10):
        places = [at for script in scripts for batch in script for at in batch if at % 10 == shard]
        assert places == list(range(shard, count, 10))
