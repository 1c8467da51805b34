"""Replies to commands of which none may be refused."""

from __future__ import annotations

import pytest

from imc_common.store import ReplyError, StoreUnreachable
from imc_worker.mi.run_all import run_all
from tests.fake_store import FakeStore


async def test_the_replies_come_in_the_order_of_the_commands() -> None:
    store = FakeStore()
    assert await run_all(store, [("SET", "word", "hello"), ("GET", "word"), ("GET", "none")]) == [
        *(b"OK", b"hello", None)
    ]
    assert len(store.ran) == 1, "one round trip"


async def test_the_first_refused_command_is_raised_wherever_it_stands() -> None:
    store = FakeStore()
    refused = ("HGET", "word", "field")
    with pytest.raises(ReplyError, match=r"^WRONGTYPE"):
        await run_all(store, [("SET", "word", "hello"), refused, ("INCR", "word")])


async def test_an_outage_is_raised() -> None:
    store = FakeStore()
    store.unreachable = True
    with pytest.raises(StoreUnreachable):
        await run_all(store, [("GET", "word")])
