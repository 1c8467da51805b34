"""Supervision of child processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from imc_cli import supervisor as module
from imc_cli.supervisor import Child, ChildError, Supervisor
from tests.patience import PATIENCE


def child(code: str) -> Child:
    """A child that runs this Python code."""
    return Child("child", [sys.executable, "-c", code], dict(os.environ))


def at_once() -> asyncio.Future[None]:
    """Ready without waiting."""
    return asyncio.ensure_future(asyncio.sleep(0))


def never() -> asyncio.Future[None]:
    """Never ready."""
    return asyncio.get_running_loop().create_future()


async def until(path: Path, lines: int) -> list[str]:
    """The lines of a file when it has so many."""
    async with asyncio.timeout(PATIENCE):
        while not path.exists() or len(path.read_text().splitlines()) < lines:
            await asyncio.sleep(0.02)
    return path.read_text().splitlines()


async def test_a_child_that_ends_during_the_start_is_an_error() -> None:
    """It is not restarted, because the cause may be a wrong setting."""
    supervisor = Supervisor([child("raise SystemExit(3)")], print)
    with pytest.raises(ChildError, match=r"child failed to start \(status 3\)"):
        await supervisor.start(never)
    assert await supervisor.stop(PATIENCE)


async def test_a_dead_child_is_restarted_after_a_growing_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pause doubles up to a maximum. A line says how the child ended."""
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(module, "MAX_PAUSE", 0.1)
    said: list[str] = []
    starts = tmp_path / "starts"
    code = (
        f"import os, signal; open({str(starts)!r}, 'a').write('x\\n'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    supervisor = Supervisor([child(code)], said.append)
    await supervisor.start(at_once)
    await until(starts, 4)
    assert await supervisor.stop(PATIENCE)
    assert said[:3] == [f"child ended (SIGKILL), restarting in {pause} s" for pause in (0.05, 0.1, 0.1)]


async def test_a_child_that_was_stable_is_restarted_after_the_first_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pause starts again with the first one."""
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(module, "STABLE_SECONDS", 0.0)
    said: list[str] = []
    starts = tmp_path / "starts"
    supervisor = Supervisor([child(f"open({str(starts)!r}, 'a').write('x\\n')")], said.append)
    await supervisor.start(at_once)
    await until(starts, 4)
    assert await supervisor.stop(PATIENCE)
    assert set(said) == {"child ended (status 0), restarting in 0.01 s"}


async def test_signals_are_passed_on_and_sigterm_stops_the_children(tmp_path: Path) -> None:
    """Children drain on SIGTERM."""
    seen = tmp_path / "seen"
    code = (
        "import os, signal, sys, time\n"
        f"log = os.open({str(seen)!r}, os.O_WRONLY | os.O_CREAT)\n"
        "signal.signal(signal.SIGHUP, lambda *_: os.write(log, b'hup\\n'))\n"
        "signal.signal(signal.SIGTERM, lambda *_: (os.write(log, b'term\\n'), sys.exit(0)))\n"
        "os.write(log, b'up\\n')\n"
        "while True: time.sleep(0.05)"
    )
    supervisor = Supervisor([child(code)], print)
    await supervisor.start(at_once)
    await until(seen, 1)
    supervisor.signal(signal.SIGHUP)
    await until(seen, 2)
    assert await supervisor.stop(PATIENCE)
    assert await until(seen, 3) == ["up", "hup", "term"]


async def test_a_child_that_does_not_stop_in_time_is_killed(tmp_path: Path) -> None:
    """Then stop() returns False."""
    said: list[str] = []
    up = tmp_path / "up"
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        f"open({str(up)!r}, 'w').write('x\\n'); time.sleep(60)"
    )
    one = child(code)
    supervisor = Supervisor([one], said.append)
    await supervisor.start(at_once)
    await until(up, 1)
    assert not await supervisor.stop(0.2)
    assert said == ["some processes still run after 0.2 s: killing them"]
    assert one.process is not None
    assert one.process.returncode == -signal.SIGKILL


async def test_signals_without_a_name_are_reported_by_number() -> None:
    """Such as real-time signals."""
    supervisor = Supervisor([child("import os; os.kill(os.getpid(), 40)")], print)
    with pytest.raises(ChildError, match="signal 40"):
        await supervisor.start(never)
    await supervisor.stop(PATIENCE)
