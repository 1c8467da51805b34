"""Notifies systemd about the state of the process (``Type=notify``, sd_notify(3))."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


def notify(*states: str, env: Mapping[str, str] = os.environ) -> bool:
    """Send states such as ``READY=1`` or ``STOPPING=1`` to the service manager. False without one.

    An unreachable socket raises no error, because the manager has a timeout of its own.
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
