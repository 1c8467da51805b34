"""A short chaos run on each kind of Redis: random faults under load, and the checker's verdict."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

from tests.chaos.faults import EVERY
from tests.processes import ROOT
from tests.servers import program

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(700)]

SHORT = (
    "--seconds=12",
    "--seed=4",
    "--rooms=4",
    "--talkers=3",
    "--pause=0.1",
    "--fault-pause=1",
    "--longest-fault=4",
)
NOTHING_WRONG = "lost 0, doubled 0, misdirected 0, reordered 0, wrong rosters 0"


@pytest.mark.parametrize("kind", ["single", "sentinel", "cluster"])
async def test_random_faults_lose_double_misdirect_or_reorder_no_message(kind: str) -> None:
    """Edges, workers and servers are killed, suspended, isolated, full or busy, several at a time."""
    said = await verdict(kind, group_chats=0)
    assert int(re.findall(r"deliveries (\d+)", said)[0]) > 100  # a slow machine makes fewer deliveries
    assert int(re.findall(r"faults (\d+)", said)[0]) >= 3


@pytest.mark.chaos
@pytest.mark.parametrize("kind", ["single", "sentinel", "cluster"])
async def test_random_faults_leave_the_right_rosters(kind: str) -> None:
    """The same with phones that show group chats."""
    assert "versions 0," not in await verdict(kind, group_chats=1)


async def verdict(kind: str, *, group_chats: int) -> str:
    """What a short run says, in which nothing may be wrong."""
    program("redis-server")
    status, said = await chaos("--redis", kind, *SHORT, f"--group-chats={group_chats}")
    assert status == 0, said
    assert NOTHING_WRONG in said
    return said


async def chaos(*options: str) -> tuple[int, str]:
    """A run as by `make chaos`; returns its exit status and its output."""
    run = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.chaos", *options),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(600):
            said, _ = await run.communicate()
    finally:
        if run.returncode is None:
            run.terminate()  # it stops its servers
            await run.wait()
    return run.returncode or 0, said.decode()


def test_the_reliability_page_lists_every_fault() -> None:
    """The table of lanes in docs/reliability.md."""
    page = (Path(ROOT) / "docs" / "reliability.md").read_text()
    (table,) = re.findall(r"\n\| lane \|.*?\n\n", page, flags=re.DOTALL)
    assert set(re.findall(r"`([^`]*)`", table)) == {name for lane in EVERY.values() for name in lane}
