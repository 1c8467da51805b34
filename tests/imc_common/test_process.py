"""What edges and workers do alike: parts run until a signal comes, then drain; SIGHUP reloads.

Real processes, their signals and their exit status: `tests/imc_edge/test_process.py`,
`tests/imc_worker/test_process.py`, `tests/imc_worker/test_wrong_settings.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from imc_common.process import Process
from imc_common.settings import Settings
from imc_common.store import Store


class Plain(Process):
    """A process without anything of its own."""

    def __init__(self, reread: Callable[[], Settings] | None = None) -> None:
        super().__init__("edge", Settings(), reread)
        self.happened: list[str] = []

    def trouble(self) -> str:
        return ""

    async def serve(self, store: Store) -> None:
        raise NotImplementedError

    def reload_files(self) -> None:
        self.happened.append("files")

    def reload(self, settings: Settings) -> None:
        """As a part that accepts new settings."""
        self.happened.append(f"max_backlog={settings.max_backlog}")


class Running:
    """A part that notes its start and end."""

    def __init__(self, happened: list[str], error: Exception | None = None) -> None:
        self.happened = happened
        self.error = error

    async def run(self) -> None:
        self.happened.append("started")
        try:
            if self.error is not None:
                raise self.error
            await asyncio.Event().wait()
        finally:
            self.happened.append("ended")


def draining(happened: list[str]) -> Callable[[], Awaitable[None]]:
    """A drain that notes that it ran."""

    async def drain() -> None:
        happened.append("drained")

    return drain


async def test_parts_run_until_they_are_drained() -> None:
    """Draining needs them: they are cancelled after it."""
    process = Plain()
    parts = [Running(process.happened)]
    serving = asyncio.create_task(process.run_parts(parts, draining(process.happened)))
    while not process.happened:
        await asyncio.sleep(0)
    process.stopping.set()
    await serving
    assert process.happened == ["started", "drained", "ended"]


async def test_a_part_that_fails_ends_the_process() -> None:
    """A process that does half of its work is worse than one that is started again."""
    process = Plain()
    parts = [Running(process.happened), Running(process.happened, ValueError("broken"))]
    with pytest.raises(ExceptionGroup):
        await process.run_parts(parts, draining(process.happened))
    assert process.happened == ["started", "started", "ended", "ended"]


def test_a_reload_reads_the_files_first_then_the_settings() -> None:
    """And passes the settings to every part that accepts them."""
    process = Plain(lambda: Settings(max_backlog=7))
    process.reloadable = (process, process)
    process._reload()
    assert process.happened == ["files", "max_backlog=7", "max_backlog=7"]
    assert process.settings.max_backlog == 7


def test_the_second_signal_ends_the_process_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one only asks it to stop."""
    statuses: list[int] = []
    monkeypatch.setattr("os._exit", statuses.append)
    process = Plain()
    process._stop()
    assert process.stopping.is_set()
    assert statuses == []
    process._stop()
    assert statuses == [1]
