"""A service whose worker serves MI by FIFO and HTTP, with a room in it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from imc_cli.mi_client import ask
from imc_common.settings import Settings
from tests.integration.service import Service, service
from tests.ports import free_port
from tests.processes import wait_until

ROOM = "sip:chat-000@example.org"
ALICE, BOB = "sip:alice@example.org", "sip:bob@example.org"


class MiService(NamedTuple):
    """The service, the addresses of its MI, and a client's settings."""

    service: Service
    fifo: Path
    replies: Path
    port: int
    settings: Settings


@pytest.fixture(scope="session")
def mi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MiService]:
    """One service for all tests, with a room of alice and bob."""
    with tempfile.TemporaryDirectory(prefix="imc-mi-") as folder:
        fifo, port = Path(folder) / "fifo", free_port()
        given = {"mi_fifo": str(fifo), "mi_reply_dir": folder, "mi_listen": f"127.0.0.1:{port}"}
        given |= {"status_listen": "127.0.0.1:0"}
        with service(tmp_path_factory.mktemp("mi"), "redis", given) as running:
            wait_until(fifo.exists, "a FIFO")
            settings = Settings(mi_listen=given["mi_listen"])
            ask(settings, "imc_create_room", [ROOM, ALICE])
            ask(settings, "imc_add_member", [ROOM, BOB])
            yield MiService(running, fifo, Path(folder), port, settings)
