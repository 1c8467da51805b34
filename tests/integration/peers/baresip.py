"""Drives the softphone baresip through its control socket (JSON in netstrings)."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

from tests.patience import PATIENCE
from tests.ports import free_port
from tests.processes import Process, wait_until
from tests.tools import require

CONFIG = """\
sip_listen 127.0.0.1:{sip_port}
module_path {modules}
module account.so
module contact.so
module menu.so
module ctrl_tcp.so
ctrl_tcp_listen 127.0.0.1:{control_port}
"""


class Baresip:
    """A softphone at ``NAME@127.0.0.1:PORT`` with one contact, a room."""

    def __init__(self, folder: Path, name: str, room: str, password: str = "") -> None:
        program = require("baresip")
        self.port, _tls, self._control = (
            free_port(),
            free_port(),
            free_port(),
        )  # baresip's TLS port is always one higher
        modules = next(Path("/usr/lib").glob("**/baresip/modules"))
        config = CONFIG.format(sip_port=self.port, modules=modules, control_port=self._control)
        (folder / "config").write_text(config)
        login = f";auth_user={name};auth_pass={password}" if password else ""
        (folder / "accounts").write_text(f"<sip:{name}@127.0.0.1:{self.port}>;regint=0{login}\n")
        (folder / "contacts").write_text(f'"room" <sip:{room}>;access=allow\n')
        self.address = f"{name}@127.0.0.1:{self.port}"
        self.process = Process("baresip", [program, "-f", str(folder)], folder, {"HOME": str(folder)})

    def start(self) -> None:
        self.process.start()
        wait_until(lambda: "baresip is ready" in self.process.log(), "baresip")

    def message(self, text: str) -> None:
        """Send a text to the room."""
        command = json.dumps({"command": "message", "params": text}).encode()
        with socket.create_connection(("127.0.0.1", self._control), timeout=PATIENCE) as control:
            control.sendall(b"%d:%s," % (len(command), command))
            reply = json.loads(control.recv(4096).partition(b":")[2].rstrip(b","))
        assert reply["ok"], reply
        time.sleep(0.2)  # it handles one command at a time
