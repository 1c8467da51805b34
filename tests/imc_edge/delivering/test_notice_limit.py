"""Notices of refusals to one sender are rate limited."""

from __future__ import annotations

from imc_edge.delivering.notice_limit import BURST, MAX_SENDERS, SECONDS_EACH, NoticeLimit


def test_a_burst_passes_then_one_at_a_time() -> None:
    """Each sender has a bucket of its own."""
    now = 100.0
    limit = NoticeLimit(lambda: now)
    assert [limit.allows("a@b") for _ in range(BURST + 2)] == [True] * BURST + [False] * 2
    assert limit.allows("c@b")
    now += SECONDS_EACH
    assert [limit.allows("a@b") for _ in range(2)] == [True, False]
    now += 1000
    assert [limit.allows("a@b") for _ in range(BURST + 1)] == [True] * BURST + [False]


def test_memory_is_bounded_however_many_senders_there_are() -> None:
    """An attacker can invent names."""
    limit = NoticeLimit(lambda: 0.0)
    for number in range(MAX_SENDERS * 2):
        assert limit.allows(f"user{number}@b")
    assert len(limit._full_at) <= MAX_SENDERS


def test_a_sender_is_the_same_at_every_port_and_in_any_case() -> None:
    """Other ports are not other users."""
    limit = NoticeLimit(lambda: 0.0)
    names = [f"Eve@192.0.2.1:{port}" for port in range(10_000, 10_000 + BURST)]
    assert all(limit.allows(name) for name in names)
    assert not limit.allows("eve@192.0.2.1:20000")
    assert limit.allows("bob@192.0.2.1:20000")
