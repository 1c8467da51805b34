"""Notifications to the service manager."""

import os
import socket
from pathlib import Path

import pytest

from imc_common.systemd import notify


@pytest.fixture
def manager(tmp_path: Path) -> socket.socket:
    """A socket such as systemd gives to a service."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(tmp_path / "notify"))
    sock.settimeout(1)
    return sock


def test_states_arrive_one_per_line(manager: socket.socket) -> None:
    """sd_notify(3): one datagram."""
    assert notify("READY=1", "STATUS=serving", env={"NOTIFY_SOCKET": manager.getsockname()})
    assert manager.recv(100) == b"READY=1\nSTATUS=serving"
    manager.close()


def test_abstract_sockets_are_supported() -> None:
    """A leading @ stands for the NUL of an abstract socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        name = f"imc-notify-test-{os.getpid()}"
        sock.bind(f"\0{name}")
        sock.settimeout(1)
        assert notify("STOPPING=1", env={"NOTIFY_SOCKET": f"@{name}"})
        assert sock.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize("where", [None, "", "tcp:1", "/nowhere/at/all"])
def test_without_a_service_manager_nothing_is_sent(where: str | None) -> None:
    """Without the variable, with an unknown form, or if the socket is gone."""
    assert not notify("READY=1", env={} if where is None else {"NOTIFY_SOCKET": where})
