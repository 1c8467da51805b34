"""A limit that was passed is told once, for certain."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from imc_common.rooms.request import RoomRequest
from imc_common.store import ReplyError
from imc_edge.receiving.budgets import Excess
from imc_edge.receiving.excess_notices import ExcessNotices
from tests.imc_edge.sending import Clock

ENTRY = RoomRequest("invite", "alice@example.org:5071", "r@example.org", "bob@example.org")


def notices(clock: Clock, **options: int) -> ExcessNotices:
    store = SimpleNamespace(script=lambda name, keys, args: (name, *keys, *args))
    return ExcessNotices(store, 4, clock, **options)  # type: ignore[arg-type]


def test_redis_is_asked_once_until_it_says_that_the_time_is_over() -> None:
    """Each limit by itself, and a user at any port; a notice lies in the user's own shard."""
    clock = Clock()
    made = notices(clock)
    excess = Excess("invitations", 7)
    due = made.due(ENTRY, excess, 100)
    assert due is not None
    command, telling = due
    assert [str(key).partition("}")[2] for key in command[1:3]] == [
        ":limit_notice:invitations:alice@example.org",
        ":in",
    ]
    assert str(command[1]).partition("}")[0] == str(command[2]).partition("}")[0]
    same = ENTRY._replace(sender="alice@example.org")
    assert made.due(same, excess, 100) is None
    telling.on_reply(20_000)
    clock.now += 19
    assert made.due(same, excess, 100) is None
    assert made.due(ENTRY, Excess("invitations", 7, "target"), 100) is not None
    assert made.due(ENTRY, Excess("commands", 7), 100) is not None
    clock.now += 2
    assert made.due(same, excess, 100) is not None


@pytest.mark.parametrize("reply", [b"overloaded", ReplyError("OOM"), None])
def test_what_redis_did_not_take_is_tried_again(reply: object) -> None:
    """With the next refusal, at once."""
    made = notices(Clock())
    due = made.due(ENTRY, Excess("commands", 7), 100)
    assert due is not None
    due[1].on_reply(reply)
    assert made.due(ENTRY, Excess("commands", 7), 100) is not None


def test_of_everybodys_limit_nobody_is_told() -> None:
    """It is nobody's fault."""
    assert notices(Clock()).due(ENTRY, Excess("total", 7), 100) is None


def test_memory_is_bounded() -> None:
    """However many names pass a limit."""
    made = notices(Clock(), max_known=10)
    for number in range(100):
        assert made.due(ENTRY._replace(sender=f"u{number}@h"), Excess("commands", 7), 100) is not None
        assert len(made._silent_until) <= 10
