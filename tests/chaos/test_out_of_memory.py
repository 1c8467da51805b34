"""The kernel's OOM killer ends an edge and a worker under load."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chaos.case import Case, verdict_on
from tests.chaos.plant import Process
from tests.chaos.servers import Single
from tests.patience import PATIENCE
from tests.servers import program

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]

LIMIT = 32 << 20
HOG = """
import pathlib, sys
pathlib.Path(sys.argv[1], "cgroup.procs").write_text("0")
eaten = []
while len(eaten) < 64:
    eaten.append(b"x" * (1 << 20))
"""
"""Eats more memory than its cgroup has."""


@contextmanager
def cage() -> Iterator[Path]:
    """A cgroup with little memory; the test is skipped where this machine lets us make none."""
    root = Path("/sys/fs/cgroup/memory")
    name, limit = ("memory.limit_in_bytes", LIMIT)
    if not root.exists():
        root, name = root.parent, "memory.max"
    folder = root / f"imc-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    try:
        try:
            (folder / name).write_text(str(limit))
        except OSError as error:
            pytest.skip(f"no cgroup can be limited here: {error}")
        yield folder
    finally:
        folder.rmdir()


def killed_for_memory(process: Process, folder: Path) -> None:
    """The kernel runs out of memory in the process's cgroup, and ends it."""
    assert process.child is not None
    (folder / "cgroup.procs").write_text(str(process.child.pid))
    Path(f"/proc/{process.child.pid}/oom_score_adj").write_text("1000")  # before the one that eats it
    with subprocess.Popen([sys.executable, "-c", HOG, str(folder)]) as hog:
        try:
            assert process.child.wait(PATIENCE) == -signal.SIGKILL
        finally:
            hog.kill()
            process.end()


async def out_of_memory(case: Case) -> None:
    """An edge first, and while it is away, a worker."""
    for process in (case.plant.edges[0], case.plant.workers[0]):
        with cage() as folder:
            await asyncio.to_thread(killed_for_memory, process, folder)
        await case.until_said(30)
    for process in (case.plant.edges[0], case.plant.workers[0]):
        process.start()


async def test_what_the_oom_killer_ends_is_replaced_and_nothing_is_lost(tmp_path: Path) -> None:
    """The others carry on, and the next ones join them."""
    program("redis-server")
    with cage():  # or skip before anything is started
        pass
    verdict = await verdict_on(tmp_path, Single(tmp_path), out_of_memory)
    assert verdict.ok, (verdict, verdict.lost[:3], verdict.doubled[:3])
