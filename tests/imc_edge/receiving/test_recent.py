"""What is remembered of many, and for how long."""

from __future__ import annotations

from imc_edge.receiving.recent import Recent


def test_what_was_put_lately_is_known() -> None:
    """As many of the last as are asked for, and at most twice so many; putting again counts as late."""
    recent = Recent(3)
    assert recent.get("a") is None
    for number, name in enumerate("abcab"):
        recent.put(name, number)
    assert [recent.get(name) for name in "abc"] == [3, 4, 2]
    for number in range(100):
        recent.put(number, number)
        assert [recent.get(last) for last in range(max(0, number - 2), number + 1)] == list(
            range(max(0, number - 2), number + 1)
        )
        assert len(recent) < 6
    assert recent.get("a") is None


def test_a_0_is_not_nothing() -> None:
    """Also when it is among the older ones."""
    recent = Recent(2)
    recent.put("a", 0)
    recent.put("b", 1)
    assert recent.get("a") == 0


def test_all_is_forgotten_when_asked_for() -> None:
    """Of both ages."""
    recent = Recent(2)
    for name in "abc":
        recent.put(name, 1)
    recent.clear()
    assert len(recent) == 0
    assert recent.get("a") is recent.get("c") is None
