"""Who has put in much delays nobody else."""

from __future__ import annotations

import pytest

from imc_edge.delivering.turns import Turns


def test_each_gets_a_turn_and_keeps_the_order_of_its_items() -> None:
    """An item that is put back is the next of its line, and its line waits for its turn."""
    turns: Turns[int] = Turns()
    for who, item in (("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5)):
        turns.add(who, item)
    assert (len(turns), bool(turns), list(turns)) == (5, True, [1, 2, 3, 4, 5])
    assert turns.next() == 1
    turns.add("a", 1, first=True)
    assert [turns.next() for _ in range(5)] == [4, 5, 1, 2, 3]
    assert (len(turns), bool(turns)) == (0, False)


def test_all_can_be_taken_out() -> None:
    turns: Turns[int] = Turns()
    turns.add("a", 1)
    turns.clear()
    assert not turns
    with pytest.raises(StopIteration):
        turns.next()
