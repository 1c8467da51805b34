"""The kernel's OOM killer kills an edge and a worker under load."""

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

from tests.chaos.scenario import Scenario, run_with_fault
from tests.chaos.servers import Single
from tests.patience import PATIENCE
from tests.processes import Process
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
"""Allocates more memory than its cgroup has."""


@contextmanager
def cage() -> Iterator[Path]:
    """A cgroup with little memory. Without the permission to create one, the test is skipped."""
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
    """Make the kernel kill the process because its cgroup is out of memory."""
    assert process.child is not None
    (folder / "cgroup.procs").write_text(str(process.child.pid))
    Path(f"/proc/{process.child.pid}/oom_score_adj").write_text(
        "1000"
    )  # so that it is killed before the process that allocates
    with subprocess.Popen([sys.executable, "-c", HOG, str(folder)]) as hog:
        try:
            assert process.child.wait(PATIENCE) == -signal.SIGKILL
        finally:
            hog.kill()
            process.end()


async def out_of_memory(scenario: Scenario) -> None:
    """First an edge, then a worker while the edge is down."""
    for process in (scenario.deployment.edges[0], scenario.deployment.workers[0]):
        with cage() as folder:
            await asyncio.to_thread(killed_for_memory, process, folder)
        await scenario.wait_for_accepted(30)
    for process in (scenario.deployment.edges[0], scenario.deployment.workers[0]):
        process.start()


async def test_processes_killed_by_the_oom_killer_lose_no_message(tmp_path: Path) -> None:
    """The other edge and worker take over; new ones join them."""
    program("redis-server")
    with cage():  # skips the test before anything is started
        pass
    verdict = await run_with_fault(tmp_path, Single(tmp_path), out_of_memory)
    assert verdict.ok, (verdict, verdict.lost[:3], verdict.doubled[:3])
