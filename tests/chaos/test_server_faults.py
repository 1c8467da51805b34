"""What one Redis can do to those who use it: full disk, full memory, outage, cut file, a clock that jumps."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from imc_common import keys
from imc_common.settings import Settings
from imc_common.store import Store
from tests.chaos.history import Verdict
from tests.chaos.plant import Plant, Single, answers, backlog, free_port, redis_cli, wait_until
from tests.chaos.users import Population
from tests.servers import Server, program, running

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(300)]

ROOMS = {"room0": "anchor0", "room1": "anchor1"}
TALKERS = 8
HOUR = 3600


class Case:
    """Two edges, two workers, one Redis, and users who talk all the time."""

    def __init__(self, redis: Single, plant: Plant, users: Population) -> None:
        self.redis = redis
        self.plant = plant
        self.users = users
        self.silence = asyncio.Event()

    async def talk(self, user: str, room: str) -> None:
        await self.users.command(user, room, "#join")
        number = 0
        while not self.silence.is_set():
            number += 1
            await self.users.say(user, room, f"{user}.{number}")
            await asyncio.sleep(0.05)

    async def cli(self, *words: str) -> str:
        return await asyncio.to_thread(redis_cli, self.redis.primaries()[0], *words)

    async def until_said(self, number: int) -> None:
        """Waits until so many more messages were accepted."""
        first = self.accepted
        async with asyncio.timeout(90):
            while self.accepted < first + number:
                await asyncio.sleep(0.05)

    @property
    def accepted(self) -> int:
        return sum(sent.accepted for sent in self.users.history.sent)


async def verdict_on(folder: Path, redis: Single, fault: Callable[[Case], Awaitable[None]]) -> Verdict:
    """Users talk, the fault comes and goes, they talk on, all comes to rest; the judge's word."""
    proxy_port = free_port()
    plant = Plant(redis, folder, edges=2, workers=2, proxy_port=proxy_port)
    users = await Population.open(plant.edge_ports, proxy_port)
    try:
        await asyncio.to_thread(plant.start)
        await asyncio.gather(*(users.command(anchor, room, "#create") for room, anchor in ROOMS.items()))
        case = Case(redis, plant, users)
        async with asyncio.TaskGroup() as group:
            for number in range(TALKERS):
                group.create_task(case.talk(f"u{number + 1}", f"room{number % 2}"))
            await case.until_said(30)
            await fault(case)
            await case.until_said(30)
            case.silence.set()
        async with asyncio.timeout(90):
            while await asyncio.to_thread(backlog, redis):
                await asyncio.sleep(0.2)
        await asyncio.sleep(0.3)
        assert not users.problems
        return users.history.judge(ROOMS)
    finally:
        users.close()
        await asyncio.to_thread(plant.stop)


async def nothing_gets_in(case: Case) -> None:
    """Waits until senders have had nothing but refusals for a second."""
    async with asyncio.timeout(30):
        before = -1
        while before != case.accepted:
            before = case.accepted
            await asyncio.sleep(1.0)


async def disk_full(case: Case) -> None:
    """The server cannot save, so it takes no writes (MISCONF), until it can again.

    A folder in the place of its dump stands for the full disk: it needs no file system of its own.
    """
    (dump,) = [
        Path(process.command[process.command.index("--dir") + 1]) for process in case.redis.servers.values()
    ]
    (dump / "dump.rdb" / "in the way").mkdir(parents=True)
    await case.cli("CONFIG", "SET", "save", "3600 100000")
    await case.cli("BGSAVE")
    await asyncio.to_thread(wait_until, lambda: _refused(case), "MISCONF")
    await nothing_gets_in(case)
    (dump / "dump.rdb" / "in the way").rmdir()
    (dump / "dump.rdb").rmdir()
    await case.cli("BGSAVE")


def _refused(case: Case) -> bool:
    return "MISCONF" in redis_cli(case.redis.primaries()[0], "SET", "probe", "1")


async def memory_full(case: Case) -> None:
    """Nothing new gets in (OOM), what is in is delivered: streams get empty while memory still is full."""
    await case.cli("CONFIG", "SET", "maxmemory", "1")
    await nothing_gets_in(case)
    async with asyncio.timeout(30):
        while await asyncio.to_thread(backlog, case.redis):
            await asyncio.sleep(0.1)
    await case.cli("CONFIG", "SET", "maxmemory", "0")


async def outage(case: Case) -> None:
    """The server is away for longer than every lease and time-out; the processes stay as they were."""
    (server,) = case.redis.servers.values()
    await asyncio.to_thread(server.end)
    before = memory_kb(case.plant)
    await asyncio.sleep(10)
    assert memory_kb(case.plant) < before + 20_000
    assert all(process.alive for process in case.plant.edges + case.plant.workers)
    server.start()
    await asyncio.to_thread(wait_until, lambda: answers(case.redis.primaries()[0]), "the server's return")


def memory_kb(plant: Plant) -> int:
    """Resident memory of all edges and workers."""
    total = 0
    for process in plant.edges + plant.workers:
        assert process.child is not None
        status = Path(f"/proc/{process.child.pid}/status").read_text()
        total += int(status.partition("VmRSS:")[2].split()[0])
    return total


async def flush_each_second(case: Case) -> None:
    """Row 6: the scripts are gone again and again."""
    for _ in range(5):
        await case.cli("SCRIPT", "FLUSH")
        await asyncio.sleep(1)


@pytest.mark.parametrize("fault", [disk_full, memory_full, outage, flush_each_second])
async def test_what_the_server_refuses_for_a_while_is_accepted_later_and_nothing_is_lost(
    tmp_path: Path, fault: Callable[[Case], Awaitable[None]]
) -> None:
    """503 meanwhile, never a 202; afterwards all goes on by itself."""
    program("redis-server")
    verdict = await verdict_on(tmp_path, Single(tmp_path), fault)
    assert verdict.ok, (verdict, verdict.lost[:3], verdict.doubled[:3])


class Faked(Single):
    """A Valkey whose clock is in a file; Debian's redis-server hangs at its start under libfaketime."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.clock = folder / "clock"
        self.jump(0)
        (server,) = self.servers.values()
        server.command[0] = program("valkey")
        library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
        server.env |= {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self.clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def jump(self, seconds: int) -> None:
        """From now on the server's clock is so many seconds ahead."""
        self.clock.write_text(f"{seconds:+d}\n")


async def clock_jumps(case: Case) -> None:
    """An hour ahead ends every lease at once; an hour back makes what is there last an hour longer."""
    assert isinstance(case.redis, Faked)
    for seconds in (HOUR, -HOUR, 0):
        before = int((await case.cli("TIME")).split()[0])
        case.redis.jump(seconds)
        assert abs(int((await case.cli("TIME")).split()[0]) - before) > HOUR / 2
        await case.until_said(20)


async def test_row_19_a_clock_that_jumps_an_hour_changes_no_outcome(tmp_path: Path) -> None:
    """Redis's clock ahead, back and right again under load; the processes' clocks stay."""
    program("redis-server")
    program("faketime")
    verdict = await verdict_on(tmp_path, Faked(tmp_path), clock_jumps)
    assert verdict.ok, (verdict, verdict.lost[:3], verdict.doubled[:3])


async def test_row_7_a_file_cut_in_the_middle_of_a_script_has_the_whole_script_or_nothing() -> None:
    """Scripts are transactions in the append-only file: cut anywhere, both of `accept`'s keys or neither."""
    with (
        tempfile.TemporaryDirectory() as name,
        running("redis-server", Path(name), "--appendonly", "yes") as server,
    ):
        store = await Store.connect(Settings(db_url=server.url))
        for number in range(10):
            seen, requests = keys.seen(0, str(number)), keys.requests(0)
            await store.run([store.script("accept", [seen, requests], [3_600_000, 0, "type", "message"])])
        await store.close()
        found = [await kept_after_cut(server, size) for size in (0, 7, 30, 45, 60, 75, 90, 110)]
    assert found[0] == (10, 10)
    assert all(entries == marks for entries, marks in found)
    assert found[-1][0] < 10


async def kept_after_cut(server: Server, size: int) -> tuple[int, int]:
    """Entries and marks of seen requests that are there after the file's last bytes were lost."""
    server.kill()
    (file,) = server.folder.glob("appendonlydir/*.incr.aof")
    data = file.read_bytes()
    file.write_bytes(data[: len(data) - size])
    await asyncio.to_thread(server.start)
    entries = int(server.call("XLEN", keys.requests(0))[1:])
    marks = int(server.call("EVAL", "return #redis.call('KEYS', 'imc:{0}:seen:*')", "0")[1:])
    return entries, marks
