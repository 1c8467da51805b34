"""Random conversations leave rooms as the rules say; and the comparison finds faults that are planted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from imc_common.scripts import Scripts
from tests.state_fuzz.planted import PLANTED, plant
from tests.state_fuzz.search import Search, searching

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(scope="module")
def search() -> Iterator[Search]:
    with searching() as search:
        yield search


def test_rooms_and_news_are_what_the_rules_say(search: Search) -> None:
    """With restarts, overlapping workers and faults of Redis. `make fuzz` tries other seeds."""
    search.run(Scripts(), seed=1, examples=60)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(search: Search, name: str, tmp_path: Path) -> None:
    """Each of these would be a leak, a lost room or a second effect."""
    with pytest.raises(AssertionError):
        search.run(plant(PLANTED[name], tmp_path), seed=1, examples=200, shrinks=False)
