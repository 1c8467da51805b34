"""Children say that they are ready as to a service manager."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest

from imc_cli.readiness import Readiness
from imc_common.systemd import notify
from tests.patience import PATIENCE


def says(path: Path, *states: str) -> bool:
    """What a child does."""
    return notify(*states, env={"NOTIFY_SOCKET": str(path)})


async def test_all_are_ready_when_each_has_said_so() -> None:
    """In any order; other states say nothing about it."""
    with Readiness.of(["edge 1", "worker 1"]) as readiness:
        waiting = asyncio.create_task(readiness.wait())
        assert says(readiness.paths["worker 1"], "STATUS=starting", "READY=1")
        assert says(readiness.paths["edge 1"], "STOPPING=1")
        while readiness.missing() != ["edge 1"]:
            await asyncio.sleep(0)
        assert not waiting.done()
        assert says(readiness.paths["edge 1"], "READY=1")
        await asyncio.wait_for(waiting, PATIENCE)
        assert readiness.missing() == []


async def test_afterwards_nobody_listens() -> None:
    """A child that starts again later is not held up by a socket that nobody reads."""
    with Readiness.of(["edge 1"]) as readiness:
        path = readiness.paths["edge 1"]
    assert not says(path, "READY=1")
    assert not path.parent.exists()


async def test_a_long_temporary_folder_is_no_hindrance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths of Unix sockets are short."""
    deep = tmp_path / ("deep" * 30)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with Readiness.of(["edge 1"]) as readiness:
        assert says(readiness.paths["edge 1"], "READY=1")
        await asyncio.wait_for(readiness.wait(), PATIENCE)
