"""A network of the run's own, in which packets can be dropped: nobody else on the machine notices.

Linux gives any user one who asks for it by ``unshare``, unless its administrator has forbidden it.
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
"""Environment variable of those that are in one: ``yes``, or ``no`` if there can be none."""
ENTER = ("unshare", "--user", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")

Rule = tuple[str, ...]


def enter(module: str) -> None:
    """Replaces this process by ``python -m module`` in a network of its own, where that can be."""
    if INSIDE in os.environ:
        return
    os.environ["XTABLES_LOCKFILE"] = str(Path(tempfile.gettempdir()) / f"imc-chaos-{os.getpid()}.lock")
    os.environ[INSIDE] = "yes" if _possible() else "no"
    if ours():
        os.execvp(ENTER[0], [*ENTER, sys.executable, "-m", module, *sys.argv[1:]])  # noqa: S606 # no shell is wanted


def ours() -> bool:
    """Whether this process is in a network of its own."""
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
    """Both directions of what passes between two ends, each a choice of addresses as iptables has it."""
    return [
        (*_end("-s", one), *_end("-d", other)),
        (*_end("-s", other), *_end("-d", one)),
    ]


def _end(flag: str, end: Rule) -> Rule:
    return (*end[:-1], flag, end[-1])


@asynccontextmanager
async def dropping(*rules: Rule) -> AsyncIterator[None]:
    """For the length of the block packets that a rule fits are dropped; TCP sends them again afterwards."""
    try:
        for rule in rules:
            await asyncio.to_thread(_filter, "-A", rule)
        yield
    finally:
        for rule in rules:
            await asyncio.to_thread(_filter, "-D", rule)


def _filter(change: str, rule: Rule) -> None:
    subprocess.run(["iptables", "-w", change, "INPUT", *rule, "-j", "DROP"], check=True, timeout=60)
