"""What a Redis that is killed while its disk is busy has kept in its append-only file."""

from __future__ import annotations

import asyncio
import subprocess
import time
from pathlib import Path

import pytest

from imc_common import keys
from imc_common.settings import Settings
from imc_common.store import Store, StoreUnreachable
from tests.chaos.servers import ALWAYS, EVERY_SECOND, is_up, redis_cli, redis_server
from tests.ports import free_port
from tests.processes import Process, wait_until
from tests.servers import program
from tests.tools import require

pytestmark = [pytest.mark.integration, pytest.mark.slow]

DISK_MS = "1500"


@pytest.fixture
def slow_disk(tmp_path: Path) -> dict[str, str]:
    """The environment of a server whose fsync takes long."""
    library = tmp_path / "slow_disk.so"
    source = Path(__file__).with_name("slow_disk.c")
    subprocess.run([require("gcc"), "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return {"LD_PRELOAD": str(library), "SLOW_DISK_MS": DISK_MS}


async def kept(folder: Path, policy: tuple[str, ...], env: dict[str, str]) -> tuple[int, int]:
    """The number of requests accepted before a SIGKILL, and of those still there after the restart."""
    program("redis-server")
    port = free_port()
    server = redis_server(folder, "redis", port, *policy)
    server.env |= env
    server.start()
    try:
        await asyncio.to_thread(wait_until, lambda: is_up(port), "the server replies")
        accepted = await _accept_for(port, seconds=4.3)
        server.end()
        await _restart(server, port)
        return accepted, int(await asyncio.to_thread(redis_cli, port, "XLEN", keys.requests(0)))
    finally:
        server.end()


async def _accept_for(port: int, seconds: float) -> int:
    store = await Store.connect(Settings(db_url=f"redis://127.0.0.1:{port}/0"))
    accepted, until = 0, time.monotonic() + seconds
    try:
        while time.monotonic() < until:
            args = [3_600_000, 0, "", str(accepted), 2, "type", "message"]
            try:
                await store.run([store.script("accept_many", keys.accepting(0), args)])
            except StoreUnreachable:
                break  # the disk is slower than the store's timeout, which means a 503
            accepted += 1
    finally:
        await store.close()
    return accepted


async def _restart(server: Process, port: int) -> None:
    server.env = {}
    server.start()
    await asyncio.to_thread(wait_until, lambda: is_up(port), "the server's return")


async def test_with_everysec_a_kill_while_the_disk_is_busy_loses_accepted_requests(
    tmp_path: Path, slow_disk: dict[str, str]
) -> None:
    """The control. During an fsync, for up to two seconds, Redis replies but writes nothing to the file.

    On a busy machine it may have just written everything; then the test tries again.
    """
    accepted = there = attempts = 0
    while there == accepted and attempts < 5:
        attempts += 1
        (folder := tmp_path / str(attempts)).mkdir()
        accepted, there = await kept(folder, EVERY_SECOND, slow_disk)
    assert there < accepted, "nothing was lost in any attempt"


async def test_with_always_a_kill_loses_no_accepted_request(
    tmp_path: Path, slow_disk: dict[str, str]
) -> None:
    """The reply comes after the fsync, however long that takes."""
    accepted, there = await kept(tmp_path, ALWAYS, slow_disk | {"SLOW_DISK_MS": "200"})
    assert there >= accepted > 0
