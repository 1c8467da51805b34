"""CSeq numbers follow from the clock, and grow in each dialog."""

from __future__ import annotations

import pytest

from imc_edge.delivering import sequence_numbers
from imc_edge.delivering.sequence_numbers import SequenceNumbers


def test_numbers_grow_though_the_clock_stands_still() -> None:
    """Other dialogs have their own."""
    numbers = SequenceNumbers(lambda: 5.0)
    assert [numbers.next("a"), numbers.next("a"), numbers.next("b")] == [500, 501, 500]


def test_another_edge_goes_on_with_higher_numbers() -> None:
    """It knows nothing but the time."""
    assert SequenceNumbers(lambda: 5.0).next("a") < SequenceNumbers(lambda: 5.02).next("a")


def test_an_edge_with_a_slower_clock_goes_on_with_lifted_numbers() -> None:
    """Its own numbers grow from there."""
    first = SequenceNumbers(lambda: 3605.0).next("a")
    numbers = SequenceNumbers(lambda: 5.0)
    assert numbers.next("a") < first
    assert first < numbers.next("a", 1_000_000) < numbers.next("a", 1_000_000)


def test_numbers_begin_anew_before_they_are_too_large() -> None:
    """RFC 3261 §8.1.1.5: less than 2**31, and never 0."""
    now = [(2**31 - 1) / 100]
    numbers = SequenceNumbers(lambda: now[0])
    assert numbers.next("a") == 2**31 - 1
    now[0] += 0.02
    assert 0 < numbers.next("a") < 10


def test_few_dialogs_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock alone is right nearly always."""
    monkeypatch.setattr(sequence_numbers, "MAX_KNOWN", 2)
    numbers = SequenceNumbers(lambda: 5.0)
    for name in ("a", "b", "c"):
        numbers.next(name)
    assert numbers.next("a") == 500
