"""Texts that a sender repeats."""

from __future__ import annotations

import pytest

from imc_edge.receiving import repeats
from imc_edge.receiving.repeats import Repeats
from tests.imc_edge.doubles import edge, message

CPIM = (
    b"From: <sip:alice@example.org>\r\nDateTime: 2026-11-29T01:35:5%dZ\r\n\r\n"
    b"Content-Type: text/plain\r\n\r\nI am away"
)


def test_only_the_text_just_before_counts() -> None:
    """Of the same sender."""
    known = Repeats()
    said = [("alice", b"a"), ("alice", b"a"), ("bob", b"a"), ("alice", b"b"), ("alice", b"a"), ("bob", b"a")]
    assert [known.is_repeat(*each) for each in said] == [False, True, False, False, False, True]


def test_so_many_senders_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then all are forgotten: memory is bounded."""
    monkeypatch.setattr(repeats, "MAX_KNOWN", 3)
    known = Repeats()
    for sender in ("a", "b", "c", "d"):
        assert not known.is_repeat(sender, b"x")
    assert [known.is_repeat(sender, b"x") for sender in ("d", "a")] == [True, False]


async def test_a_repeated_text_is_pointed_out_to_the_worker() -> None:
    """In CPIM, too, where the time differs. Without history the worker could not judge."""
    async with edge(history_max_messages=5) as at:
        for number in range(2):
            await at.ask_one(message(b"hello", Call_ID=f"a{number}"))
            await at.ask_one(message(b"hello", Call_ID=f"b{number}", From="<sip:bob@example.org>;tag=1"))
        for number in range(2):
            await at.ask_one(message(CPIM % number, Call_ID=f"c{number}", Content_Type="message/cpim"))
            await at.ask_one(message(b"#list", Call_ID=f"d{number}"))
        kinds = [(entry.type, entry.echo) for entry in at.store.entries]
        assert [echo for kind, echo in kinds if kind == "message"] == [False, False, True, True, False, True]
        assert not any(echo for kind, echo in kinds if kind == "list")
    async with edge(history_max_messages=0) as at:
        for number in range(2):
            await at.ask_one(message(b"hello", Call_ID=f"a{number}"))
        assert not any(entry.echo for entry in at.store.entries)
