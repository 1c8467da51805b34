"""Ports for servers under test, which nothing else takes between the choice and the bind.

They are below the kernel's range of ephemeral ports, each is handed out once, and parallel test processes
have separate ranges.
"""

from __future__ import annotations

import itertools
import os
import random
import socket
from collections.abc import Iterator

BUS = 10_000
"""Redis adds this to a server's port for the cluster bus; free_port() never returns a port in that range."""
_FIRST, _SHARES, _SHARE = 12_000, 8, 1_250


def _ours() -> Iterator[int]:
    """This process's ports in a cycle. The start is random, since another test run may use the same range."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw7").removeprefix("gw")
    first = _FIRST + int(worker) % _SHARES * _SHARE
    start = random.randrange(_SHARE)
    return itertools.cycle([first + (start + number) % _SHARE for number in range(_SHARE)])


_PORTS = _ours()


def free_port() -> int:
    """A port that is free for UDP and TCP at every address of this machine."""
    return next(port for port in _PORTS if _is_free(port))


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                return False
    return True
