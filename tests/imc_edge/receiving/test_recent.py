"""Which names are remembered, and for how long."""

from __future__ import annotations

from imc_edge.receiving.recent import Recent


def test_the_names_stored_last_are_remembered() -> None:
    """At least as many as wanted, less than twice as many; storing a name again makes it the last."""
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


def test_the_number_0_is_remembered() -> None:
    """Also in the old dictionary."""
    recent = Recent(2)
    recent.put("a", 0)
    recent.put("b", 1)
    assert recent.get("a") == 0


def test_clear_forgets_all_names() -> None:
    """Of both dictionaries."""
    recent = Recent(2)
    for name in "abc":
        recent.put(name, 1)
    recent.clear()
    assert len(recent) == 0
    assert recent.get("a") is recent.get("c") is None
