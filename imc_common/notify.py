"""Telling systemd how the process is (``Type=notify``, sd_notify(3)); without systemd nothing is sent."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


def notify(*states: str, env: Mapping[str, str] = os.environ) -> bool:
    """Send states like ``READY=1`` or ``STOPPING=1`` to the service manager; whether there is one.

    A socket that cannot be reached is no reason to fail: the manager's own timer will notice.
    """
    where = env.get("NOTIFY_SOCKET", "")
    if not where.startswith(("/", "@")):
        return False
    address = "\0" + where[1:] if where.startswith("@") else where
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.connect(address)
            sock.send("\n".join(states).encode())
    except OSError:
        return False
    return True
