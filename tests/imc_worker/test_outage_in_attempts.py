"""A real Redis that stops in the middle of attempts, more often than an entry may fail.

Covers attempts.py.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from imc_common import keys
from imc_common.keys import shard_of
from imc_common.settings import Settings
from imc_common.store import Command, ReplyError, Store, StoreUnreachable
from imc_worker.attempts import Attempts
from imc_worker.committer import PAUSE_SECONDS
from tests.fake_store import FakeStore
from tests.imc_worker.conftest import Bench
from tests.imc_worker.test_process import ROOMS, Plant
from tests.patience import PATIENCE
from tests.servers import running

MAX_ATTEMPTS = 3
OUTAGES = 6
CUT_OFF = f"""
import os, sys, signal
os.environ["IMC_MAX_ATTEMPTS"] = "{MAX_ATTEMPTS}"
from imc_common.rooms.request import RequestData
from imc_worker import dispatcher
class CutOff(dispatcher.Dispatcher):
    def room_command(self, action, shard, entry_id, fields, owned_elsewhere):
        if RequestData.unpack(fields[b"data"]).call_id == "0":
            try:
                os.rename("server", "killed")
                os.kill(int(open("killed").read()), signal.SIGKILL)
            except FileNotFoundError:
                pass
        return super().room_command(action, shard, entry_id, fields, owned_elsewhere)
from imc_worker import launcher, __main__
launcher.Dispatcher = CutOff
sys.exit(__main__.main())
"""
"""A worker in whose attempts at one entry the server dies, each time that a file names its process."""
SHARD = shard_of(ROOMS[0], 4)


@pytest.fixture
async def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Plant]:
    monkeypatch.chdir(tmp_path)
    with (
        tempfile.TemporaryDirectory() as folder,
        running("redis-server", Path(folder), "--appendonly", "yes", "--appendfsync", "always") as server,
    ):
        store = await Store.connect(Settings(db_url=server.url))
        plant = Plant(server, store, tmp_path)
        await plant.make_rooms()
        yield plant
        plant.end()
        await store.close()


@pytest.mark.integration
async def test_outages_during_attempts_make_no_dead_letter(plant: Plant, tmp_path: Path) -> None:
    """The server stops in twice as many attempts as an entry has. Then it is handled, and no counter is
    left."""
    for _ in range(OUTAGES):
        name_server(plant, tmp_path)
        if not plant.sent:
            await plant.say(1)
            plant.start("-c", CUT_OFF)
        await plant.until(lambda: gone(plant, tmp_path))
        plant.server.kill()  # waits for its end, too
        plant.server.start()
    await plant.until(plant.idle)
    await plant.until(lambda: no_attempts(plant))
    assert await plant.store.run([("XLEN", keys.dead(SHARD))]) == [0]
    await plant.assert_handled_once_in_order()


def name_server(plant: Plant, folder: Path) -> None:
    """From now on the next attempt ends the server."""
    assert plant.server._child is not None
    (folder / "new").write_text(str(plant.server._child.pid))
    os.rename(folder / "new", folder / "server")


async def gone(plant: Plant, folder: Path) -> bool:
    """Whether an attempt has ended the server."""
    assert plant.server._child is not None
    return not (folder / "server").exists() and plant.server._child.poll() is not None


async def no_attempts(plant: Plant) -> bool:
    return bool(await plant.store.run([("KEYS", "imc:*:attempts:*")]) == [[]])


class Cut:
    """A store whose next run of this command is carried out, or not, and whose reply is lost."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store
        self.command, self.arrives = "", True

    async def run(self, commands: list[Command]) -> list[Any]:
        hit = bool(commands) and commands[0][0] == self.command
        replies = await self._store.run(commands) if self.arrives or not hit else []
        if hit:
            self.command = ""
            raise StoreUnreachable("gone")
        return replies


@pytest.mark.parametrize("arrives", [True, False])
@pytest.mark.parametrize("before", [0, 2])
async def test_a_counter_of_unknown_value_is_corrected(before: int, arrives: bool) -> None:
    """Whether or not the increase reached Redis, it has its former value in the end."""
    fake = FakeStore()
    store = Cut(fake)
    store.arrives = arrives
    attempts = Attempts(store)
    if before:
        await fake.run([("SET", "counter", before)])
    for lost in ("SET", "DEL" if not before else "SET"):
        assert await attempts.made(["counter"]) == [before]
        store.command = lost
        if lost == "SET":
            with pytest.raises(StoreUnreachable):
                await attempts.count(["counter"])
        else:
            await attempts.count(["counter"])
            attempts.take_back("counter")
            with pytest.raises(StoreUnreachable):
                await attempts.tidy()
        assert attempts.untidy
    await attempts.tidy()
    assert not attempts.untidy
    assert await fake.run([("GET", "counter")]) == [str(before).encode() if before else None]
    await fake.close()


async def test_a_counter_that_another_owner_deleted_is_not_created_again() -> None:
    """The entry was handled elsewhere during the outage."""
    fake = FakeStore()
    attempts = Attempts(fake)
    await fake.run([("SET", "counter", 2)])
    assert await attempts.made(["counter"]) == [2]
    assert await attempts.count(["counter"]) == [3]
    attempts.take_back("counter")
    await fake.run([("DEL", "counter")])
    await attempts.tidy()
    assert await fake.run([("EXISTS", "counter")]) == [0]
    await fake.close()


class Refusing:
    """A store that is on its way up: it refuses what this command is in."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store
        self.command = ""

    async def run(self, commands: list[Command]) -> list[Any]:
        if commands and commands[0][0] == self.command:
            return [ReplyError("LOADING")] * len(commands)
        return await self._store.run(commands)


async def test_an_attempt_that_redis_refuses_to_count_is_not_counted() -> None:
    """The refusal is returned; a counter that is to be deleted is deleted later."""
    fake = FakeStore()
    store = Refusing(fake)
    attempts = Attempts(store)
    store.command = "GET"
    assert [type(count) for count in await attempts.made(["counter"])] == [ReplyError]
    store.command = "SET"
    assert await attempts.made(["counter"]) == [0]
    assert [type(count) for count in await attempts.count(["counter"])] == [ReplyError]
    store.command = ""
    assert await attempts.made(["counter"]) == [0]
    assert await attempts.count(["counter"]) == [1]
    attempts.forget("counter")
    store.command = "DEL"
    await attempts.tidy()
    assert attempts.untidy
    store.command = ""
    await attempts.tidy()
    assert not attempts.untidy
    assert await fake.run([("EXISTS", "counter")]) == [0]
    await fake.close()


async def test_a_counter_is_corrected_without_further_entries(bench: Bench) -> None:
    """The shard may belong to another worker after the outage; it must not find our attempt counted."""
    retrial, entry = bench.committer._retrial, (SHARD, b"1-0", [b"type", b"message"])
    assert await retrial.judge([entry]) == ["try"]
    retrial.absolve(entry)
    bench.store.unreachable = True
    running_on = asyncio.create_task(bench.committer.run())
    await asyncio.sleep(2 * PAUSE_SECONDS[0])
    assert retrial.untidy
    bench.store.unreachable = False
    async with asyncio.timeout(PATIENCE):
        while retrial.untidy:
            await asyncio.sleep(0.01)
    running_on.cancel()
    assert await bench.store.run([("EXISTS", keys.attempts(SHARD, "in", "1-0"))]) == [0]
