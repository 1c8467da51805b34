"""Drives the softphone baresip through its control socket (JSON in netstrings) and reads its output."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.patience import PATIENCE
from tests.ports import free_port
from tests.processes import Process, wait_until
from tests.tools import require

CONFIG = """\
sip_listen 127.0.0.1:{sip_port}
module_path {modules}
module stdio.so
module account.so
module contact.so
module menu.so
module ctrl_tcp.so
ctrl_tcp_listen 127.0.0.1:{control_port}
"""


_SHOWN = re.compile(r'\r\S+: "([^\r]*?)"\n(?=\r|\x1b|\Z|baresip v|terminated by |\S+@\S+: \{)')
"""A received MESSAGE in its output, where log lines and SIP messages are, too: the text."""


class Baresip:
    """A softphone with one contact, a room: ``NAME@127.0.0.1:PORT``, who does not register.

    With a ``proxy``, a SIP URI with a transport, it is ``NAME@DOMAIN`` of the room's domain, registers there
    and sends through it. Its log has all SIP messages.
    """

    def __init__(self, folder: Path, name: str, room: str, password: str = "", *, proxy: str = "") -> None:
        program = require("baresip")
        # baresip's TLS port is always one higher than its SIP port
        self.port, _tls, self._control = [free_port() for _ in range(3)]
        modules = next(Path("/usr/lib").glob("**/baresip/modules"))
        config = CONFIG.format(sip_port=self.port, modules=modules, control_port=self._control)
        (folder / "config").write_text(config)
        login = f";auth_user={name};auth_pass={password}" if password else ""
        self._registers = bool(proxy)
        host = room.partition("@")[2] if proxy else f"127.0.0.1:{self.port}"
        way = f';outbound="{proxy}";regint=600' if proxy else ";regint=0"
        (folder / "accounts").write_text(f"<sip:{name}@{host}>{way}{login}\n")
        (folder / "contacts").write_text(f'"room" <sip:{room}>;access=allow\n')
        self.address = f"{name}@{host}"
        self._seen = 0
        os.mkfifo(folder / "input")  # it shows nothing without an input that stays open
        command = ["sh", "-c", 'exec "$0" -s -f "$1" 0<>"$1/input"', program, str(folder)]
        self.process = Process("baresip", command, folder, {"HOME": str(folder)})

    def start(self) -> None:
        """Start it, for the first time or again; returns when it is registered, if it registers."""
        earlier = len(self.process.log()) if self.process.child else 0
        self.process.start()
        wait_until(lambda: "baresip is ready" in self.process.log()[earlier:], "baresip")
        if self._registers:
            wait_until(lambda: "200 OK" in self.process.log()[earlier:], "its registration", PATIENCE)

    def stop(self) -> None:
        """End it; it unregisters first."""
        self.process.end(signal.SIGTERM if self._registers else signal.SIGKILL)

    def vanish(self) -> None:
        """Be killed: its registration stays."""
        self.process.end(signal.SIGKILL)

    def message(self, text: str) -> None:
        """Send a text to the room."""
        command = json.dumps({"command": "message", "params": text}).encode()
        with socket.create_connection(("127.0.0.1", self._control), timeout=PATIENCE) as control:
            control.sendall(b"%d:%s," % (len(command), command))
            reply = json.loads(control.recv(4096).partition(b":")[2].rstrip(b","))
        assert reply["ok"], reply
        time.sleep(0.2)  # it handles one command at a time

    def texts(self) -> list[str]:
        """All texts received so far, also before it was started again."""
        output = (self.process.folder / "baresip.log").read_bytes()
        return _SHOWN.findall(output.decode(errors="backslashreplace"))

    def assert_gets(self, pattern: str) -> str:
        """The next text that it receives must match the whole regular expression; returns the text."""
        self._wait_for(lambda: len(self.texts()) > self._seen, f"a text like {pattern!r}")
        text = self.texts()[self._seen]
        self._seen += 1
        assert re.fullmatch(pattern, text, re.DOTALL), f"{self.address} got {text!r}, expected {pattern!r}"
        return text

    def assert_gets_eventually(self, pattern: str) -> None:
        """It must receive a text that matches, whatever comes before."""
        what = f"a text like {pattern!r}"
        self._wait_for(
            lambda: any(re.fullmatch(pattern, text, re.DOTALL) for text in self._next_texts()), what
        )

    def _wait_for(self, true: Callable[[], bool], what: str) -> None:
        try:
            wait_until(true, f"{self.address}: {what}", PATIENCE)
        except TimeoutError as error:
            raise AssertionError(
                f"{error}; its texts: {self.texts()}; its log: {self.process.log()}"
            ) from None

    def _next_texts(self) -> Iterator[str]:
        for text in self.texts()[self._seen :]:
            self._seen += 1
            yield text
