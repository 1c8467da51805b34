"""The stopwatch and the ports that other tests rely on (`tests/patience.py`, `tests/ports.py`)."""

from __future__ import annotations

import ctypes

from tests.patience import Stopwatch
from tests.ports import free_port


def test_a_stopwatch_leaves_out_time_in_which_the_process_could_not_run() -> None:
    """Here a call into C holds the interpreter's lock."""
    with Stopwatch() as watch:
        ctypes.PyDLL(None).usleep(900_000)
    assert 0 <= watch.seconds < 0.5


def test_free_port_never_returns_a_port_twice() -> None:
    """A server that is slow to bind still finds its port free."""
    assert len({free_port() for _ in range(200)}) == 200
