"""What one Redis can do to those who use it: full disk, full memory, cut file, a clock that jumps."""

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
from tests.chaos.case import Case, nothing_gets_in, refuses, verdict_on
from tests.chaos.plant import wait_until
from tests.chaos.servers import EVERY_SECOND, Single, answers, redis_cli
from tests.chaos.streams import backlog
from tests.servers import Server, program, running
from tests.tools import require

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(300)]

HOUR = 3600


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
    await refuses(case)
    (dump / "dump.rdb" / "in the way").rmdir()
    (dump / "dump.rdb").rmdir()
    await case.cli("BGSAVE")


def _refused(case: Case) -> bool:
    return "MISCONF" in redis_cli(case.redis.primaries()[0], "SET", "probe", "1")


async def memory_full(case: Case) -> None:
    """Nothing new gets in (OOM), what is in is delivered: streams get empty while memory still is full."""
    await case.cli("CONFIG", "SET", "maxmemory", "1")
    await nothing_gets_in(case)
    await refuses(case)
    async with asyncio.timeout(30):
        while await asyncio.to_thread(backlog, case.redis):
            await asyncio.sleep(0.1)
    await case.cli("CONFIG", "SET", "maxmemory", "0")


async def busy(case: Case) -> None:
    """Row 16: a script of somebody else's holds the server for ten seconds; the edges shed what comes."""
    port = case.redis.primaries()[0]
    await case.cli("CONFIG", "SET", "busy-reply-threshold", "100")
    endless = asyncio.create_task(asyncio.to_thread(_loop_for_ever, port))
    await asyncio.to_thread(wait_until, lambda: "BUSY" in redis_cli(port, "PING"), "BUSY")
    await asyncio.sleep(10)
    await refuses(case)
    await case.cli("SCRIPT", "KILL")
    assert "killed" in await endless


def _loop_for_ever(port: int) -> str:
    command = ["redis-cli", "-p", str(port), "EVAL", "while true do end", "0"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout


async def loading(case: Case) -> None:
    """The server comes back with so much to read that it says LOADING for seconds."""
    port = case.redis.primaries()[0]
    (server,) = case.redis.servers.values()
    await case.cli("EVAL", "for i = 1, 5000 do redis.call('SET', 'ballast:' .. i, 'x') end", "0")
    await case.cli("BGREWRITEAOF")
    await asyncio.to_thread(wait_until, lambda: not _rewrites(port), "a rewritten file")
    await asyncio.to_thread(server.end)
    server.command += ["--key-load-delay", "2000", "--loading-process-events-interval-bytes", "1024"]
    server.start()
    await asyncio.to_thread(wait_until, lambda: "LOADING" in redis_cli(port, "PING"), "LOADING")
    await refuses(case)
    assert "LOADING" in await case.cli("PING")
    await asyncio.to_thread(wait_until, lambda: answers(port), "the end of loading")


def _rewrites(port: int) -> bool:
    about = redis_cli(port, "INFO", "persistence")
    return "aof_rewrite_in_progress:1" in about or "aof_rewrite_scheduled:1" in about


async def flush_each_second(case: Case) -> None:
    """Row 6: the scripts are gone again and again."""
    for _ in range(5):
        await case.cli("SCRIPT", "FLUSH")
        await asyncio.sleep(1)


@pytest.mark.parametrize("fault", [disk_full, memory_full, busy, loading, flush_each_second])
async def test_what_the_server_refuses_for_a_while_is_accepted_later_and_nothing_is_lost(
    tmp_path: Path, fault: Callable[[Case], Awaitable[None]]
) -> None:
    """503 meanwhile, never a 202; afterwards all goes on by itself."""
    program("redis-server")
    verdict = await verdict_on(tmp_path, Single(tmp_path), fault)
    assert verdict.ok, (verdict, verdict.lost[:3], verdict.doubled[:3])


class SmallDisk(Single):
    """A Redis with its append-only file on a small disk: a tmpfs in a mount namespace of its own."""

    def __init__(self, folder: Path, policy: tuple[str, ...]) -> None:
        super().__init__(folder)
        (server,) = self.servers.values()
        self._server = server
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
        """The disk as the server sees it."""
        assert self._server.child is not None
        return Path(f"/proc/{self._server.child.pid}/root{self._data}")

    def fill(self) -> None:
        """To the last byte."""
        with (self.disk / "filler").open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))

    def clear(self) -> None:
        (self.disk / "filler").unlink()


async def aof_disk_full(case: Case) -> None:
    """The append-only file cannot grow: MISCONF, until there is space again."""
    assert isinstance(case.redis, SmallDisk)
    case.redis.fill()
    await asyncio.to_thread(wait_until, lambda: _refused(case), "MISCONF")
    assert "AOF" in await case.cli("SET", "probe", "1")
    await nothing_gets_in(case)
    await refuses(case)
    case.redis.clear()


async def test_a_disk_too_full_for_the_append_only_file_is_waited_for(tmp_path: Path) -> None:
    """`everysec`: Redis refuses writes; what it had answered before is in the file once there is space."""
    program("redis-server")
    verdict = await verdict_on(tmp_path, SmallDisk(tmp_path, EVERY_SECOND), aof_disk_full)
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
            args = [3_600_000, 0, "", str(number), "type", "message"]
            await store.run([store.script("accept", keys.accepting(0), args)])
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
    marks = int(server.call("SCARD", keys.seen(0, "recent"))[1:])
    return entries, marks
