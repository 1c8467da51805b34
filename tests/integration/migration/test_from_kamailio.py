"""`imc import` reads the tables that a real Kamailio with its imc module wrote."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from tests.chaos.servers import Single
from tests.integration.migration.databases import mariadb
from tests.patience import PATIENCE
from tests.ports import free_port
from tests.processes import Process, wait_until
from tests.tools import require

pytestmark = pytest.mark.integration

COMMANDS = (
    ("alice", "#create sip:lobby@example.org private"),
    ("alice", "#invite sip:bob@example.org sip:lobby@example.org"),
    ("alice", "#create sip:attic@example.org"),
    ("carol", "#join sip:attic@example.org"),
)


def chat(port: int) -> bool:
    """Send every command to Kamailio; returns whether each got 200."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        here = sock.getsockname()[1]
        for number, (user, body) in enumerate(COMMANDS):
            request = (
                f"MESSAGE sip:chat-manager@example.org SIP/2.0\r\n"
                f"Via: SIP/2.0/UDP 127.0.0.1:{here};branch=z9hG4bK{number}\r\nMax-Forwards: 70\r\n"
                f"From: <sip:{user}@example.org>;tag={number}\r\nTo: <sip:chat-manager@example.org>\r\n"
                f"Call-ID: {number}-{here}\r\nCSeq: 1 MESSAGE\r\nContent-Type: text/plain\r\n"
                f"Content-Length: {len(body)}\r\n\r\n{body}"
            )
            sock.settimeout(PATIENCE if number else 0.5)  # after the first response it is running
            try:
                sock.sendto(request.encode(), ("127.0.0.1", port))
                if not sock.recv(4096).startswith(b"SIP/2.0 200"):
                    return False
            except TimeoutError:
                return False
    return True


def test_rooms_of_kamailio_are_imported(tmp_path: Path) -> None:
    """With MariaDB, because Kamailio 5.6 with SQLite crashes at its exit before it writes its rooms."""
    for program in ("redis-server", "redis-cli", "kamailio"):
        require(program)
    with mariadb() as url:
        port = free_port()
        config = (Path(__file__).parent / "kamailio.cfg").read_text()
        (tmp_path / "kamailio.cfg").write_text(config.replace("PORT", str(port)).replace("DB_URL", url))
        words = ["kamailio", "-f", f"{tmp_path}/kamailio.cfg", "-DD", "-E", "-m", "64", "-w", str(tmp_path)]
        kamailio = Process("kamailio", [*words, "-Y", str(tmp_path)], tmp_path).start()
        wait_until(lambda: chat(port), "kamailio that chats")
        assert kamailio.end(signal.SIGTERM) == 0, kamailio.log()

        server = Single(tmp_path)
        server.start()
        try:
            words = ["-m", "imc_cli", "import", "--from", url, "--db-url", server.url]
            subprocess.run([sys.executable, *words], check=True, timeout=120)
            with redis.Redis.from_url(server.url, decode_responses=True) as client:
                members = {
                    key.rpartition(":")[2]: client.hgetall(key) for key in client.scan_iter("imc_members:*")
                }
        finally:
            server.stop()
    assert members == {
        "lobby@example.org": {"alice@example.org": "owner", "bob@example.org": "invited"},
        "attic@example.org": {"alice@example.org": "owner", "carol@example.org": "member"},
    }
