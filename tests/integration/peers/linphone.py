"""Drives a headless Linphone: the library of Debian's liblinphone10 in a process of its own."""

from __future__ import annotations

import ctypes
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from tests.integration.peers.liblinphone import LIBRARY, Event, Order
from tests.patience import PATIENCE
from tests.processes import ROOT, wait_until
from tests.tools import absent

ACCOUNT = """\
[sip]
sip_port={udp}
sip_tcp_port={tcp}
sip_tls_port={tls}
root_ca={root_ca}
verify_server_certs=1
verify_server_cn=1
use_ipv6=0
guess_hostname=0
default_proxy=0
[net]
dns_srv_enabled=0
[misc]
log_collection_upload_server_url=
[storage]
backend=sqlite3
uri={folder}/linphone.db
[auth_info_0]
username={name}
passwd={password}
realm={domain}
domain={domain}
[proxy_0]
reg_proxy=<{proxy}>
reg_route=<{proxy};lr>
reg_identity=sip:{name}@{domain}
reg_expires=600
reg_sendregister=1
publish=0
push_notification_allowed=0
"""


class Linphone:
    """A user NAME@DOMAIN who registers with a proxy and sends texts through it.

    ``proxy`` is a SIP URI with a transport. ``cpim`` wraps texts in `message/cpim`, as Linphone's apps do.
    ``root_ca`` is the authority that it trusts for TLS.
    """

    program = "tests.integration.peers.liblinphone"
    """The module that runs the library."""

    def __init__(
        self,
        folder: Path,
        name: str,
        proxy: str,
        password: str,
        *,
        domain: str = "sip.test",
        cpim: bool = False,
        root_ca: Path | None = None,
    ) -> None:
        try:
            ctypes.CDLL(LIBRARY)
        except OSError:
            absent(f"{LIBRARY} is not installed")
        self.name, self.address = name, f"{name}@{domain}"
        self._options = ["cpim"] if cpim else []
        self._folder = folder / f"linphone-{name}"
        self._folder.mkdir()
        any_port, no_port = -1, 0
        ports = {
            kind: any_port if f"transport={kind}" in proxy else no_port for kind in ("udp", "tcp", "tls")
        }
        account = ACCOUNT.format(
            folder=self._folder,
            name=name,
            domain=domain,
            password=password,
            proxy=proxy,
            root_ca=root_ca or "",
            **ports,
        )
        (self._folder / "phone.ini").write_text(account)
        (self._folder / "events").touch()
        self._received = 0
        self._process: subprocess.Popen[bytes]

    def start(self) -> None:
        """Start it, for the first time or again; returns when it is registered.

        Its events are in the file `events`, also those before it was started again.
        """
        earlier = len(self._states("registration"))
        settings = self._folder / "phone.ini"  # the library notes there that it has unregistered
        settings.write_text(settings.read_text().replace("reg_sendregister=0", "reg_sendregister=1"))
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self.program, str(self._folder), *self._options],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        self._wait_for(lambda: self._states("registration")[earlier:][-1:] == ["ok"], "its registration")

    def wait_until_registered(self) -> None:
        """Wait until the latest news of its registration is a success."""
        self._wait_for(lambda: self._states("registration")[-1:] == ["ok"], "its registration")

    def leave(self) -> None:
        """Unregister and stay silent."""
        self._order({"do": "unregister"})
        self._wait_for(lambda: self._states("registration")[-1:] == ["cleared"], "its unregistration")

    def come_back(self) -> None:
        """Register again."""
        self._order({"do": "register"})
        self.wait_until_registered()

    def vanish(self) -> None:
        """Be killed: its registration stays."""
        self._process.kill()
        self._process.wait(PATIENCE)
        assert self._process.stdin is not None
        self._process.stdin.close()

    def stop(self) -> None:
        """End it; it unregisters first, if it can."""
        if self._process.poll() is None:
            with suppress(AssertionError):
                self.leave()
            self.vanish()

    def say(self, to: str, text: str) -> None:
        """Send a text to a SIP URI; returns when it was accepted."""
        before = self._accepted(text)
        self._order({"do": "send", "to": to, "text": text})
        self._wait_for(lambda: self._accepted(text) > before, f"a 2xx to {text!r}")

    def read(self, sender: str) -> None:
        """Show all texts from a SIP URI to the user."""
        self._order({"do": "read", "to": sender})

    def assert_is(self, state: str, text: str) -> None:
        """A text that it has sent must become "delivered" or "displayed"."""

        def states() -> list[str]:
            return [
                event["state"] for event in self.events() if event.get("text") == text and "state" in event
            ]

        self._wait_for(lambda: state in states(), f"{text!r} {state}")

    def assert_gets(self, pattern: str) -> str:
        """The next text that it receives must match the whole regular expression; returns the text."""
        self._wait_for(lambda: len(self.texts()) > self._received, f"a text like {pattern!r}")
        text = self.texts()[self._received]
        self._received += 1
        assert re.fullmatch(pattern, text, re.DOTALL), f"{self.name} got {text!r}, expected {pattern!r}"
        return text

    def assert_gets_eventually(self, pattern: str) -> None:
        """It must receive a text that matches, whatever comes before."""
        what = f"a text like {pattern!r}"
        self._wait_for(
            lambda: any(re.fullmatch(pattern, text, re.DOTALL) for text in self._next_texts()), what
        )

    def _next_texts(self) -> Iterator[str]:
        for text in self.texts()[self._received :]:
            self._received += 1
            yield text

    def texts(self) -> list[str]:
        """All texts received so far."""
        return [event["text"] for event in self.events() if event["kind"] == "received"]

    def times(self) -> list[int]:
        """The time that it shows beside each of these texts, in seconds since 1970."""
        return [event["time"] for event in self.events() if event["kind"] == "received"]

    def events(self) -> list[Event]:
        """Everything that has happened so far."""
        lines = (self._folder / "events").read_text().split("\n")
        return [json.loads(line) for line in lines[:-1]]  # the last one may not be complete yet

    def log(self) -> str:
        """What the library has logged: with LINPHONE_LOG in the environment, all SIP messages."""
        return (self._folder / "log").read_text(errors="replace")

    def _states(self, kind: str) -> list[str]:
        return [event["state"] for event in self.events() if event["kind"] == kind]

    def _accepted(self, text: str) -> int:
        """How often this text got a 2xx.

        It may have "failed" before it is "delivered": a Linphone that refuses CPIM says so in a receipt, too,
        and gets the text.
        """
        count, is_open = 0, False
        for event in self.events():
            if event["kind"] != "sending" or event["text"] != text:
                continue
            if event["state"] == "sending":
                is_open = True
            elif is_open and event["state"] in {"sent", "delivered", "displayed"}:
                count, is_open = count + 1, False
        return count

    def _order(self, order: Order) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()

    def _wait_for(self, true: Callable[[], bool], what: str) -> None:
        try:
            wait_until(true, f"{self.name}: {what}", PATIENCE)
        except TimeoutError as error:
            log = (self._folder / "log").read_text(errors="replace")[-2000:]
            raise AssertionError(f"{error}; its events: {self.events()[-20:]}; its log: {log}") from None
