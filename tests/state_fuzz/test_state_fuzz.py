"""Random conversations leave rooms as the rules say; and the comparison finds faults that are planted."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from imc_common.scripts import Scripts
from tests.state_fuzz.planted import PLANTED, plant
from tests.state_fuzz.search import Search, searching

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SEEDS = range(1, 6)
"""Enough for half a minute on a busy machine."""
TRIES = range(1, 16)
"""Seeds with which a planted fault has to be found; most are found with the first."""


@pytest.fixture(scope="module")
def search() -> Iterator[Search]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with searching() as search:
        yield search
    structlog.reset_defaults()


@pytest.mark.parametrize("seed", SEEDS)
def test_rooms_and_news_are_what_the_rules_say(search: Search, seed: int) -> None:
    """With restarts, overlapping workers and faults of Redis. `make fuzz` tries other seeds.

    A failure is shown with all its steps: to leave out as many as possible would take minutes. With its seed,
    ``python -m tests.state_fuzz --seed`` does that.
    """
    search.run(Scripts(), seed=seed, shrinks=False)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(search: Search, name: str, tmp_path: Path) -> None:
    """Each of these would be a leak, a lost room or a second effect."""
    scripts = plant(PLANTED[name], tmp_path)
    with pytest.raises(AssertionError):
        _try_all(search, scripts)


def _try_all(search: Search, scripts: Scripts) -> None:
    for seed in TRIES:
        search.run(scripts, seed=seed, shrinks=False)
