"""Ports for the servers of tests, that nobody else takes between being chosen and being bound.

They are below those that the kernel gives to sockets that ask for any, each is given out once, and tests that
run side by side choose from ranges of their own.
"""

from __future__ import annotations

import itertools
import os
import random
import socket
from collections.abc import Iterator

BUS = 10_000
"""What Redis adds to a port for a cluster's bus: nobody is given such ports."""
_FIRST, _SHARES, _SHARE = 12_000, 8, 1_250


def _ours() -> Iterator[int]:
    """The ports of this process, again and again, from any of them on: another run may go on beside."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw7").removeprefix("gw")
    first = _FIRST + int(worker) % _SHARES * _SHARE
    start = random.randrange(_SHARE)
    return itertools.cycle([first + (start + number) % _SHARE for number in range(_SHARE)])


_PORTS = _ours()


def free_port() -> int:
    """A port that nobody has, for UDP and for TCP, at every address of this machine."""
    return next(port for port in _PORTS if _is_free(port))


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                return False
    return True
