"""docs/running.md, "Back up and restore": its commands and its steps, on a real Redis."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import subprocess
import tempfile
from pathlib import Path

import pytest
import redis

from imc_common import keys
from tests.integration.service import Service
from tests.integration.sip_user import SipUser
from tests.integration.test_away import come_back, gets, go, in_a_room, register, told
from tests.patience import PATIENCE
from tests.processes import wait_until
from tests.servers import Server
from tests.tools import require

pytestmark = pytest.mark.integration

PAGE = Path(__file__).parents[2] / "docs" / "running.md"
SECTION = PAGE.read_text().partition("\n## Back up and restore\n")[2].partition("\n## ")[0]
ROOM = keys.Keys().members(7, "chat-000@example.org")


def commands() -> list[str]:
    """The lines of the section for redis-cli."""
    return re.findall(r"^ *(redis-cli .*)$", SECTION, re.MULTILINE)


def run(line: str, server: Server, folder: Path) -> None:
    subprocess.run(
        ["bash", "-euc", line],
        env={**os.environ, "REDIS": f"-s {server.socket}"},
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=PATIENCE,
    )


def restore(server: Server, folder: Path, turn_on: str) -> Server:
    """Steps 1 to 6 of the page; the server that runs then writes its append-only file."""
    server.kill()
    (folder / "backup.rdb").replace(folder / "dump.rdb")
    (folder / "appendonlydir").rename(folder / "moved-away")
    restored = Server("redis-server", folder, "--appendonly", "no").start()
    try:
        run(turn_on, restored, folder)
        with redis.Redis(unix_socket_path=restored.socket) as client:
            wait_until(lambda: not client.info("persistence")["aof_rewrite_in_progress"], "the rewrite")  # type: ignore[index]
    finally:
        restored.kill()
    return Server("redis-server", folder, "--appendonly", "yes").start()


def test_a_backup_restores_rooms_and_pending_requests() -> None:
    """Later data is gone; the restored data also survives the next start with the append-only file."""
    require("redis-cli")
    back_up, turn_on = commands()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = Server("redis-server", folder, "--appendonly", "yes").start()
        client = redis.Redis(unix_socket_path=server.socket)
        try:
            client.hset(ROOM, "alice@example.org", "owner")
            entry = client.xadd(keys.requests(7), {"type": "message"})
            client.xgroup_create(keys.requests(7), keys.group("worker"), "0")
            run(back_up, server, folder)
            client.hset(ROOM, "bob@example.org", "member")
            server = restore(server, folder, turn_on)
            assert client.hgetall(ROOM) == {b"alice@example.org": b"owner"}
            assert [entry_id for entry_id, _ in client.xrange(keys.requests(7))] == [entry]  # type: ignore[union-attr]
            assert len(client.xinfo_groups(keys.requests(7))) == 1  # type: ignore[arg-type]
        finally:
            client.close()
            server.kill()


async def test_a_backup_has_what_members_who_are_away_have_missed(tmp_path: Path) -> None:
    """Their places in the rooms' histories, too: after the restore they get it, once and in order."""
    require("redis-cli")
    back_up, turn_on = commands()
    room = f"sip:room-{secrets.token_hex(4)}@127.0.0.1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = Server("redis-server", folder, "--appendonly", "yes").start()
        imc = Service(tmp_path, server.url, {})
        alice, carol = [await SipUser.open(each, imc.edge) for each in ("alice", "carol")]
        try:
            imc.start()
            await in_a_room(room, alice, carol)
            go(carol, 480)
            texts = await told(alice, room, 0, 5)
            await asyncio.to_thread(imc.wait_until_settled)
            await asyncio.to_thread(run, back_up, server, folder)
            await told(alice, room, 5, 1)  # gone with what came after the backup
            await asyncio.to_thread(imc.stop)
            server = await asyncio.to_thread(restore, server, folder, turn_on)
            await asyncio.to_thread(imc.start)
            come_back(carol)
            await register(carol)
            await gets(carol, texts)
            await carol.assert_gets_nothing()
            await asyncio.to_thread(imc.stop)
        finally:
            alice.close()
            carol.close()
            for process in (*imc.edges, *imc.workers):
                process.end()
            server.kill()
