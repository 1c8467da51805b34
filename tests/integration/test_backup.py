"""docs/running.md, "Back up and restore": its commands and its steps, on a real Redis."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

import pytest
import redis

from imc_common import keys
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


def test_a_backup_restores_rooms_and_pending_requests() -> None:
    """Later data is gone; the restored data also survives the next start with the append-only file."""
    require("redis-cli")
    back_up, turn_on = commands()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = Server("redis-server", folder, "--appendonly", "yes").start()
        restored = Server("redis-server", folder, "--appendonly", "no")
        again = Server("redis-server", folder, "--appendonly", "yes")
        client = redis.Redis(unix_socket_path=server.socket)
        try:
            client.hset(ROOM, "alice@example.org", "owner")
            entry = client.xadd(keys.requests(7), {"type": "message"})
            client.xgroup_create(keys.requests(7), keys.group("worker"), "0")
            run(back_up, server, folder)
            client.hset(ROOM, "bob@example.org", "member")
            server.kill()
            (folder / "backup.rdb").replace(folder / "dump.rdb")
            (folder / "appendonlydir").rename(folder / "moved-away")
            restored.start()
            run(turn_on, restored, folder)
            wait_until(lambda: not client.info("persistence")["aof_rewrite_in_progress"], "the rewrite")  # type: ignore[index]
            restored.kill()
            again.start()
            assert client.hgetall(ROOM) == {b"alice@example.org": b"owner"}
            assert [entry_id for entry_id, _ in client.xrange(keys.requests(7))] == [entry]  # type: ignore[union-attr]
            assert len(client.xinfo_groups(keys.requests(7))) == 1  # type: ignore[arg-type]
        finally:
            client.close()
            for each in (server, restored, again):
                each.kill()
