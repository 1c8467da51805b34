"""Faults of a single Redis: full disk, full memory, a truncated file, a clock that jumps."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from imc_common import keys
from imc_common.settings import Settings
from imc_common.store import Store
from tests.chaos.scenario import (
    Scenario,
    assert_all_edges_refuse,
    run_with_fault,
    wait_until_nothing_is_accepted,
)
from tests.chaos.servers import EVERY_SECOND, Single, is_up, redis_cli
from tests.chaos.streams import backlog
from tests.processes import wait_until
from tests.servers import Server, program, running
from tests.tools import require

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(300)]

HOUR = 3600


async def disk_full(scenario: Scenario) -> None:
    """The server cannot save, so it refuses writes (MISCONF) until it can.

    A folder with the name of its dump simulates the full disk, without a separate file system.
    """
    (dump,) = [
        Path(process.command[process.command.index("--dir") + 1])
        for process in scenario.redis.servers.values()
    ]
    (dump / "dump.rdb" / "in the way").mkdir(parents=True)
    await scenario.cli("CONFIG", "SET", "save", "3600 100000")
    await scenario.cli("BGSAVE")
    await asyncio.to_thread(wait_until, lambda: _refused(scenario), "MISCONF")
    await wait_until_nothing_is_accepted(scenario)
    await assert_all_edges_refuse(scenario)
    (dump / "dump.rdb" / "in the way").rmdir()
    (dump / "dump.rdb").rmdir()
    await scenario.cli("BGSAVE")


def _refused(scenario: Scenario) -> bool:
    return "MISCONF" in redis_cli(scenario.redis.primaries()[0], "SET", "probe", "1")


async def memory_full(scenario: Scenario) -> None:
    """New requests are refused (OOM), accepted ones are delivered: streams become empty with full memory."""
    await scenario.cli("CONFIG", "SET", "maxmemory", "1")
    await wait_until_nothing_is_accepted(scenario)
    await assert_all_edges_refuse(scenario)
    async with asyncio.timeout(30):
        while await asyncio.to_thread(backlog, scenario.redis):
            await asyncio.sleep(0.1)
    await scenario.cli("CONFIG", "SET", "maxmemory", "0")


async def busy(scenario: Scenario) -> None:
    """A foreign script blocks the server for ten seconds (BUSY); edges respond with 503."""
    port = scenario.redis.primaries()[0]
    await scenario.cli("CONFIG", "SET", "busy-reply-threshold", "100")
    endless = asyncio.create_task(asyncio.to_thread(_loop_for_ever, port))
    await asyncio.to_thread(wait_until, lambda: "BUSY" in redis_cli(port, "PING"), "BUSY")
    await asyncio.sleep(10)
    await assert_all_edges_refuse(scenario)
    await scenario.cli("SCRIPT", "KILL")
    assert "killed" in await endless


def _loop_for_ever(port: int) -> str:
    command = ["redis-cli", "-p", str(port), "EVAL", "while true do end", "0"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout


async def loading(scenario: Scenario) -> None:
    """The server restarts with so much data that it replies LOADING for seconds."""
    port = scenario.redis.primaries()[0]
    (server,) = scenario.redis.servers.values()
    await scenario.cli("EVAL", "for i = 1, 5000 do redis.call('SET', 'ballast:' .. i, 'x') end", "0")
    await scenario.cli("BGREWRITEAOF")
    await asyncio.to_thread(wait_until, lambda: not _rewrites(port), "a rewritten file")
    await asyncio.to_thread(server.end)
    server.command += ["--key-load-delay", "2000", "--loading-process-events-interval-bytes", "1024"]
    server.start()
    await asyncio.to_thread(wait_until, lambda: "LOADING" in redis_cli(port, "PING"), "LOADING")
    await assert_all_edges_refuse(scenario)
    assert "LOADING" in await scenario.cli("PING")
    await asyncio.to_thread(wait_until, lambda: is_up(port), "the end of loading")


def _rewrites(port: int) -> bool:
    about = redis_cli(port, "INFO", "persistence")
    return "aof_rewrite_in_progress:1" in about or "aof_rewrite_scheduled:1" in about


async def flush_each_second(scenario: Scenario) -> None:
    """The server loses its scripts every second."""
    for _ in range(5):
        await scenario.cli("SCRIPT", "FLUSH")
        await asyncio.sleep(1)


@pytest.mark.parametrize("fault", [disk_full, memory_full, busy, loading, flush_each_second])
async def test_while_redis_refuses_requests_get_503_and_no_message_is_lost(
    tmp_path: Path, fault: Callable[[Scenario], Awaitable[None]]
) -> None:
    """There is no 202 meanwhile, and the service recovers by itself."""
    program("redis-server")
    verdict = await run_with_fault(tmp_path, Single(tmp_path), fault)
    assert verdict.ok, (verdict, verdict.lost[:3], verdict.doubled[:3])


class SmallDisk(Single):
    """A Redis with its append-only file on a small disk: a tmpfs in a separate mount namespace."""

    def __init__(self, folder: Path, policy: tuple[str, ...]) -> None:
        super().__init__(folder)
        (server,) = self.servers.values()
        self._process = server
        self._data = Path(server.command[server.command.index("--dir") + 1])
        at = server.command.index("--appendfsync")
        server.command[at : at + 2] = policy
        mount = 'mount -t tmpfs -o size=4m tmpfs "$0" && exec "$@"'
        server.command = [
            *(require("unshare"), "--user", "--map-root-user", "--mount", "sh", "-c", mount),
            *(str(self._data), *server.command),
        ]

    @property
    def disk(self) -> Path:
        """The path of the disk as seen from outside the namespace."""
        assert self._process.child is not None
        return Path(f"/proc/{self._process.child.pid}/root{self._data}")

    def fill(self) -> None:
        """Fill the disk to the last byte."""
        with (self.disk / "filler").open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))

    def clear(self) -> None:
        (self.disk / "filler").unlink()


async def aof_disk_full(scenario: Scenario) -> None:
    """The append-only file cannot grow, so writes get MISCONF until there is space."""
    assert isinstance(scenario.redis, SmallDisk)
    scenario.redis.fill()
    await asyncio.to_thread(wait_until, lambda: _refused(scenario), "MISCONF")
    assert "AOF" in await scenario.cli("SET", "probe", "1")
    await wait_until_nothing_is_accepted(scenario)
    await assert_all_edges_refuse(scenario)
    scenario.redis.clear()


async def test_a_full_disk_under_the_append_only_file_loses_no_message(tmp_path: Path) -> None:
    """With `everysec`, Redis refuses writes. What it replied OK to is in the file once there is space."""
    program("redis-server")
    verdict = await run_with_fault(tmp_path, SmallDisk(tmp_path, EVERY_SECOND), aof_disk_full)
    assert verdict.ok, (verdict, verdict.lost[:3], verdict.doubled[:3])


class Faked(Single):
    """A Valkey with its clock in a file. (Debian's redis-server hangs at its start under libfaketime.)"""

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
        """Set the server's clock so many seconds ahead of the correct time."""
        self.clock.write_text(f"{seconds:+d}\n")


async def clock_jumps(scenario: Scenario) -> None:
    """An hour ahead expires every lease at once; an hour back makes leases last an hour longer."""
    assert isinstance(scenario.redis, Faked)
    for seconds in (HOUR, -HOUR, 0):
        before = int((await scenario.cli("TIME")).split()[0])
        scenario.redis.jump(seconds)
        assert abs(int((await scenario.cli("TIME")).split()[0]) - before) > HOUR / 2
        await scenario.wait_for_accepted(20)


async def test_a_jump_of_redis_clock_by_an_hour_loses_and_doubles_no_message(tmp_path: Path) -> None:
    """Ahead, back and correct again under load; the clocks of the processes do not change."""
    program("redis-server")
    program("faketime")
    verdict = await run_with_fault(tmp_path, Faked(tmp_path), clock_jumps)
    assert verdict.ok, (verdict, verdict.lost[:3], verdict.doubled[:3])


async def test_a_truncated_append_only_file_has_all_or_nothing_of_a_script() -> None:
    """Scripts are transactions in the file: after truncation, both keys of `accept_many` exist or neither."""
    with (
        tempfile.TemporaryDirectory() as name,
        running("redis-server", Path(name), "--appendonly", "yes") as server,
    ):
        store = await Store.connect(Settings(db_url=server.url))
        for number in range(10):
            args = [3_600_000, 0, "", str(number), 2, "type", "message"]
            await store.run([store.script("accept_many", keys.accepting(0), args)])
        await store.close()
        found = [await kept_after_cut(server, size) for size in (0, 7, 30, 45, 60, 75, 90, 110)]
    assert found[0] == (10, 10)
    assert all(entries == marks for entries, marks in found)
    assert found[-1][0] < 10


async def kept_after_cut(server: Server, size: int) -> tuple[int, int]:
    """The numbers of requests and of remembered requests after the file lost its last ``size`` bytes."""
    server.kill()
    (file,) = server.folder.glob("appendonlydir/*.incr.aof")
    data = file.read_bytes()
    file.write_bytes(data[: len(data) - size])
    await asyncio.to_thread(server.start)
    entries = int(server.call("XLEN", keys.requests(0))[1:])
    marks = int(server.call("SCARD", keys.seen(0, "recent"))[1:])
    return entries, marks
