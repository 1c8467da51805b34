"""check_sequence: CSeq numbers grow in a dialog (RFC 3261 §12.2.2)."""

from __future__ import annotations

from imc_common import keys
from tests.lua.shard import SHARD, Shard


def check(shard: Shard, number: int, dialog: str = "d", ttl_ms: int = 60_000) -> str:
    return str(shard.run("check_sequence", [keys.sequence(SHARD, dialog)], [number, ttl_ms]))


def test_a_lower_number_is_out_of_order(shard: Shard) -> None:
    """An equal one is that of a retransmission. What is out of order changes nothing."""
    found = [check(shard, number) for number in (5, 5, 4, 7, 6, 5, 7, 2**31 - 1, 8)]
    assert found == ["next", "next", "lower", "next", "lower", "lower", "next", "next", "lower"]


def test_each_dialog_has_its_own_numbers(shard: Shard) -> None:
    """As those of a session and of a subscription of one device."""
    assert [check(shard, 9), check(shard, 1, "other")] == ["next", "next"]


def test_the_number_is_kept_after_each_request(shard: Shard) -> None:
    """So long as something may be under way; then it takes no memory."""
    key = keys.sequence(SHARD, "d")
    check(shard, 9, ttl_ms=5_000)
    assert 0 < shard.redis.pttl(key) <= 5_000
    check(shard, 9)
    assert shard.redis.pttl(key) > 5_000
