"""Runs chaos tests in a new network namespace, where dropped packets do not affect the rest of the machine.

Linux lets any user create one with ``unshare`` unless an administrator has disabled it.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

INSIDE = "IMC_CHAOS_NETWORK"
"""Environment variable: ``yes`` inside such a namespace, ``no`` if none can be created."""
ENTER = ("unshare", "--user", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")

Rule = tuple[str, ...]


def enter(module: str) -> None:
    """Replace this process by ``python -m module`` in a new network namespace, if one can be created."""
    if INSIDE in os.environ:
        return
    os.environ["XTABLES_LOCKFILE"] = str(Path(tempfile.gettempdir()) / f"imc-chaos-{os.getpid()}.lock")
    os.environ[INSIDE] = "yes" if _possible() else "no"
    if ours():
        os.execvp(ENTER[0], [*ENTER, sys.executable, "-m", module, *sys.argv[1:]])  # noqa: S606 # no shell needed


def ours() -> bool:
    """Whether this process runs in its own network namespace."""
    return os.environ.get(INSIDE) == "yes"


def _possible() -> bool:
    try:
        tried = subprocess.run(
            [*ENTER, "iptables", "--list"], capture_output=True, timeout=20, check=False, env=os.environ
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return tried.returncode == 0


def between(one: Rule, other: Rule) -> list[Rule]:
    """Rules for both directions between two ends; each end is a match of addresses for iptables."""
    return [
        (*_end("-s", one), *_end("-d", other)),
        (*_end("-s", other), *_end("-d", one)),
    ]


def _end(flag: str, end: Rule) -> Rule:
    return (*end[:-1], flag, end[-1])


@asynccontextmanager
async def dropping(*rules: Rule) -> AsyncIterator[None]:
    """Drop packets that match any rule until the end of the block; TCP retransmits them afterwards."""
    try:
        for rule in rules:
            await asyncio.to_thread(_filter, "-A", rule)
        yield
    finally:
        for rule in rules:
            await asyncio.to_thread(_filter, "-D", rule)


def _filter(change: str, rule: Rule) -> None:
    subprocess.run(["iptables", "-w", change, "INPUT", *rule, "-j", "DROP"], check=True, timeout=60)
