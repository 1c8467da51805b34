"""MI commands on fakeredis, with a worker beside them that handles what they ask for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from imc_worker.mi.commands import MiCommands
from imc_worker.mi.operate import Operator
from imc_worker.mi.rooms import Rooms
from imc_worker.mi.users import UserRecords
from tests.imc_worker.conftest import Bench


class Mi:
    """The commands of one process, and the bench of a worker."""

    def __init__(self, **settings: Any) -> None:
        self.stopping = False
        self.bench = Bench(**settings)
        rooms = Rooms(self.bench.store, self.bench.settings)
        operator = Operator(self.bench.store, rooms, self.bench.settings, lambda: 1.7e9)
        users = UserRecords(self.bench.store, rooms, operator, self.bench.settings)
        self.commands = MiCommands(rooms, operator, users, self.bench.settings)

    async def call(self, name: str, *params: Any, **named: Any) -> Any:
        """The result of a command."""
        return await self.commands.call(name, named or list(params), "test")

    async def work(self) -> None:
        """Handle whatever comes until told to stop: fakeredis does not like to be cancelled."""
        while not self.stopping:
            await self.bench.work(1)
            await asyncio.sleep(0)

    async def close(self) -> None:
        """End the store."""
        await self.bench.store.close()


MakeMi = Callable[..., Mi]


@pytest.fixture
async def make_mi() -> AsyncIterator[MakeMi]:
    """Makes MI with these settings and a worker at work."""
    made: list[tuple[Mi, asyncio.Task[None]]] = []

    def make(**settings: Any) -> Mi:
        mi = Mi(**settings)
        made.append((mi, asyncio.get_running_loop().create_task(mi.work())))
        return mi

    yield make
    for mi, task in made:
        mi.stopping = True
        await task
        await mi.close()


@pytest.fixture
async def mi(make_mi: MakeMi) -> Mi:
    """MI with default settings."""
    return make_mi()
