"""Members who ask for the history of their room in the benchmark. Covers bench/asking.py and preload.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import load
from bench.asking import AT_ONCE, BEYOND, PER_SECOND, Asking
from bench.cases import DEFAULT_LIMITS
from bench.load import Group
from bench.preload import preload
from bench.systems import Imc, running
from tests.patience import PATIENCE
from tests.tools import require

ROOMS = Group(rooms=2, members=3, outstanding=1, id=1)
"""Those whose history is asked for."""
STORED = 150


class Nowhere:
    """A system that is never started."""

    name = "nowhere"
    target = proxy = "127.0.0.1:9"

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def components(self) -> dict[str, list[int]]:
        return {}


@pytest.mark.integration
@pytest.mark.parametrize("at_once", [True, False])
def test_all_that_was_preloaded_and_asked_for_arrives(tmp_path: Path, at_once: bool) -> None:
    """Messages that are too old to be shown, or a load generator that ends too early, would be found."""
    for tool in ("gcc", "redis-server", "redis-cli"):
        require(tool)
    program = load.build(tmp_path)
    system = Imc(settings=DEFAULT_LIMITS)
    with running(system):
        preload(system.redis_socket, ROOMS, stored=STORED)
        asking = Asking(system, ROOMS, at_once=at_once, seconds=1.0)
        others = Group(rooms=1, members=3, outstanding=8, rate=40)
        measured = load.run(
            program, system, [others], seconds=1, warmup=0.1, setup=True, grace=PATIENCE, on_begin=asking.run
        )
    asking.check(measured.groups[0]["earlier"])
    assert measured.faults == {}
    assert measured.deliveries > 0
    assert asking.statuses.total() <= ROOMS.rooms * (AT_ONCE + BEYOND if at_once else PER_SECOND)


@pytest.mark.parametrize(("accepted", "arrived"), [(0, 0), (0, 100), (2, 199)])
def test_a_window_in_which_not_all_arrives_is_an_error(accepted: int, arrived: int) -> None:
    """A figure without the load that it names would be wrong."""
    asking = Asking(Nowhere(), ROOMS, at_once=True, seconds=1.0)
    asking.statuses[202] = accepted
    with pytest.raises(RuntimeError, match=f"{arrived} of {accepted * 100} messages"):
        asking.check(arrived)


def test_a_response_that_got_lost_is_no_error() -> None:
    """Its messages arrive all the same."""
    asking = Asking(Nowhere(), ROOMS, at_once=True, seconds=1.0)
    asking.statuses[202] = 1
    asking.check(200)
