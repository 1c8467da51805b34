"""Which messages one script may handle."""

from __future__ import annotations

from imc_worker.dispatcher import PendingEntry
from imc_worker.message_batches import MAX_BATCH, leading_messages


def entries(*kinds: str) -> list[PendingEntry]:
    """Entries given as shard and type: ``3m`` a message of shard 3, ``3j`` something else."""
    names = {"m": b"message", "j": b"join"}
    return [(int(kind[:-1]), b"1-1", [b"type", names[kind[-1]], b"from", b"a@b"]) for kind in kinds]


def test_messages_of_one_shard_form_a_batch() -> None:
    """Messages of other shards between them do not matter."""
    assert leading_messages(entries("1m", "2m", "1m", "2m", "1m")) == [[0, 2, 4], [1, 3]]


def test_a_message_behind_another_request_waits_for_it() -> None:
    """A join must take effect before the next message."""
    assert leading_messages(entries("1m", "1m", "1j", "1m", "1m")) == [[0, 1]]
    assert leading_messages(entries("1j", "1m", "1m", "2m", "2m")) == [[3, 4]]


def test_a_single_message_is_no_batch() -> None:
    """It gets a script of its own."""
    assert leading_messages(entries("1m", "2m", "3j")) == []


def test_batches_are_bounded() -> None:
    """Redis does nothing else while a script runs."""
    assert [len(run) for run in leading_messages(entries(*["1m"] * (2 * MAX_BATCH + 5)))] == [
        MAX_BATCH,
        MAX_BATCH,
        5,
    ]
    assert [len(run) for run in leading_messages(entries(*["1m"] * (MAX_BATCH + 1)))] == [MAX_BATCH]
