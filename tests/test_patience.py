"""What the other tests lean on, on a machine that is busy or stands still."""

from __future__ import annotations

import ctypes

from tests.patience import Stopwatch
from tests.ports import free_port


def test_seconds_in_which_we_could_not_run_are_left_out() -> None:
    """Here because a call into C keeps the interpreter for itself."""
    with Stopwatch() as watch:
        ctypes.PyDLL(None).usleep(900_000)
    assert 0 <= watch.seconds < 0.5


def test_no_port_is_given_out_twice() -> None:
    """So that a server that is slow to start finds it free."""
    assert len({free_port() for _ in range(200)}) == 200
