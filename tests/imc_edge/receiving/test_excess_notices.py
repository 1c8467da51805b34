"""One notice for a limit that is exceeded."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from imc_common.rooms.request import RoomRequest
from imc_common.store import ReplyError
from imc_edge.receiving.budgets import Excess
from imc_edge.receiving.excess_notices import ExcessNotices
from tests.imc_edge.sending import Clock

ENTRY = RoomRequest("invite", "alice@example.org:5071", "r@example.org", user="bob@example.org")


def notices(clock: Clock, **options: int) -> ExcessNotices:
    store = SimpleNamespace(script=lambda name, keys, args: (name, *keys, *args))
    return ExcessNotices(store, 4, clock, **options)  # type: ignore[arg-type]


def test_one_notice_is_due_per_limit_and_user_until_its_time_is_over() -> None:
    """A user has one at all ports, and it is written in the user's own shard."""
    clock = Clock()
    made = notices(clock)
    excess = Excess("invitations", 7)
    due = made.due(ENTRY, excess, 100)
    assert due is not None
    command, awaiting = due
    assert [str(key).partition("}")[2] for key in command[1:3]] == [
        ":limit_notice:invitations:alice@example.org",
        ":in",
    ]
    assert str(command[1]).partition("}")[0] == str(command[2]).partition("}")[0]
    same = replace(ENTRY, sender="alice@example.org")
    assert made.due(same, excess, 100) is None
    awaiting.on_reply(20_000)
    clock.now += 19
    assert made.due(same, excess, 100) is None
    assert made.due(ENTRY, Excess("invitations", 7, "target"), 100) is not None
    assert made.due(ENTRY, Excess("commands", 7), 100) is not None
    clock.now += 2
    assert made.due(same, excess, 100) is not None


@pytest.mark.parametrize("reply", [b"overloaded", ReplyError("OOM"), None])
def test_a_notice_that_was_not_written_is_due_at_the_next_refusal(reply: object) -> None:
    """An edge is not silent before Redis has written one."""
    made = notices(Clock())
    due = made.due(ENTRY, Excess("commands", 7), 100)
    assert due is not None
    due[1].on_reply(reply)
    assert made.due(ENTRY, Excess("commands", 7), 100) is not None


def test_no_notice_is_due_for_the_limit_of_the_whole_service() -> None:
    """It is no fault of the sender."""
    assert notices(Clock()).due(ENTRY, Excess("total", 7), 100) is None


def test_memory_is_bounded() -> None:
    """However many users exceed a limit."""
    made = notices(Clock(), max_known=10)
    for number in range(100):
        assert made.due(replace(ENTRY, sender=f"u{number}@h"), Excess("commands", 7), 100) is not None
        assert len(made._silent_until) <= 10
