"""The budget of file descriptors: how many connections fit into the limit of open files (RLIMIT_NOFILE)."""

from __future__ import annotations

import resource
from typing import Final, NamedTuple

from imc_common.errors import ImcError

RESERVED: Final = 192
"""File descriptors for all else: Redis, the status server and its clients, DNS, listening sockets, logs."""
MIN_CONNECTIONS: Final = 16
"""An edge with fewer is not useful."""


class TooFewDescriptorsError(ImcError):
    """The limit of open files leaves no room for connections; says how many are needed."""


class Budget(NamedTuple):
    """How many connections there may be, and the limit of open files that allows them."""

    connections: int
    open_files: int


def descriptor_budget(max_connections: int) -> Budget:
    """Raise the soft limit of open files as far as `max_connections` needs and the hard limit allows.

    Fewer connections are allowed if that is not enough. Raises `TooFewDescriptorsError`.
    """
    needed = max_connections + RESERVED
    soft, hard = (_finite(limit, needed) for limit in resource.getrlimit(resource.RLIMIT_NOFILE))
    if soft < needed and soft < hard:
        soft = min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    connections = min(max_connections, soft - RESERVED)
    if connections < min(max_connections, MIN_CONNECTIONS):
        raise TooFewDescriptorsError(
            f"the limit of open files is {soft}, but an edge needs at least {RESERVED + MIN_CONNECTIONS}:"
            " raise it with ulimit -n, or LimitNOFILE in systemd"
        )
    return Budget(connections, soft)


def _finite(limit: int, needed: int) -> int:
    return needed if limit == resource.RLIM_INFINITY else limit
