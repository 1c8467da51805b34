"""Edges and workers notify systemd when they serve and when they drain (sd_notify(3))."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from tests.integration.service import python

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("role", ["edge", "worker"])
def test_a_process_notifies_systemd_when_it_serves_and_when_it_drains(
    tmp_path: Path, imc_url: str, role: str
) -> None:
    """systemd would kill a unit of `Type=notify` that never sends READY=1."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "manager"))
        manager.settimeout(60)
        env = {"IMC_DB_URL": imc_url, "IMC_LISTEN": "udp:127.0.0.1:0"}
        process = python(tmp_path, role, f"imc_{role}", env | {"NOTIFY_SOCKET": str(tmp_path / "manager")})
        process.start()
        try:
            assert manager.recv(100) == b"READY=1"
            process.send(signal.SIGTERM)
            assert manager.recv(100) == b"STOPPING=1"
        finally:
            process.end(signal.SIGTERM)
