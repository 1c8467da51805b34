"""How long a user whose phone was off waits for what was said meanwhile."""

from __future__ import annotations

import socket
import time
from itertools import count

from bench.systems import System

DOMAIN = "bench.example"
SPEAKER, RETURNING = "u-9-0-0", "u-9-0-1"
"""Users with odd numbers have no phone, as in the load generator, until they register."""
MESSAGES = 50
PATIENCE_SECONDS = 60.0
SETTLE_SECONDS = 1.0


def seconds_until_caught_up(system: System, run: int) -> float:
    """From the REGISTER of a user until it has 50 messages that were said in a room while it was away.

    Nothing else may run against the system. Raises `TimeoutError`.
    """
    room = f"chat-9-{run}"
    with _Network(system) as network:
        network.say(SPEAKER, room, f"#create {room}")
        network.say(RETURNING, room, "#join")
        for number in range(MESSAGES):
            network.say(SPEAKER, room, f"missed {number}.")
        network.run(SETTLE_SECONDS)
        network.come_back()
        began = time.monotonic()
        while len(network.got) < MESSAGES:
            network.run(0.001)
            if time.monotonic() > began + PATIENCE_SECONDS:
                raise TimeoutError(f"{system.name}: {len(network.got)} of {MESSAGES} messages came")
        return time.monotonic() - began


class _Network:
    """The outbound proxy of a system, and the two users behind it."""

    def __init__(self, system: System) -> None:
        host, port = system.target.rsplit(":", 1)
        self._target = (host, int(port))
        self._proxy = socket.socket(type=socket.SOCK_DGRAM)
        host, port = system.proxy.rsplit(":", 1)
        self._proxy.bind((host, int(port)))
        self._proxy.setblocking(False)
        self._users = socket.socket(type=socket.SOCK_DGRAM)
        self._users.bind(("127.0.0.1", 0))
        self._users.settimeout(PATIENCE_SECONDS)
        self._is_back = False
        self._cseq = count(1)
        self._run = f"{time.time_ns():x}"
        self.got: set[bytes] = set()
        """The messages that the user got since it came back."""

    def __enter__(self) -> _Network:
        return self

    def __exit__(self, *_: object) -> None:
        self._proxy.close()
        self._users.close()

    def say(self, user: str, room: str, text: str) -> None:
        """Send a message and wait for its final response."""
        self._request("MESSAGE", f"sip:{room}@{DOMAIN}", user, f"sip:{room}@{DOMAIN}", text)

    def come_back(self) -> None:
        """The returning user registers."""
        self._is_back = True
        self._request("REGISTER", f"sip:{DOMAIN}", RETURNING, f"sip:{RETURNING}@{DOMAIN}", "")

    def run(self, seconds: float) -> None:
        """Respond to deliveries for so long."""
        end = time.monotonic() + seconds
        while True:
            try:
                data, peer = self._proxy.recvfrom(65_535)
            except BlockingIOError:
                if time.monotonic() >= end:
                    return
                time.sleep(0.0005)
                continue
            self._respond(data, peer)

    def _respond(self, data: bytes, peer: tuple[str, int]) -> None:
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        is_away = f"sip:{RETURNING}@".encode() in lines[0] and not self._is_back
        status = b"480 Temporarily Unavailable" if is_away else b"200 OK"
        names = (b"via:", b"from:", b"to:", b"call-id:", b"cseq:")
        kept = [line for line in lines[1:] if line.lower().startswith(names)]
        self._proxy.sendto(b"\r\n".join((b"SIP/2.0 " + status, *kept, b"Content-Length: 0", b"", b"")), peer)
        if f"sip:{RETURNING}@".encode() in lines[0] and self._is_back and b"missed " in body:
            self.got.add(body[body.index(b"missed ") :])

    def _request(self, method: str, uri: str, user: str, to: str, body: str) -> None:
        number = next(self._cseq)
        here = "{}:{}".format(*self._users.getsockname())
        lines = (
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/UDP {here};rport;branch=z9hG4bK{self._run}{number}",
            f"From: <sip:{user}@{DOMAIN}>;tag={self._run}",
            f"To: <{to}>",
            f"Call-ID: {self._run}-{number}",
            f"CSeq: {number} {method}",
            "Max-Forwards: 70",
            f"Contact: <sip:{user}@{here}>",
            "Expires: 600",
            *(("Content-Type: text/plain",) if body else ()),
            f"Content-Length: {len(body)}",
        )
        self._users.sendto(("\r\n".join(lines) + f"\r\n\r\n{body}").encode(), self._target)
        end = time.monotonic() + PATIENCE_SECONDS
        self._users.setblocking(False)
        while time.monotonic() < end:
            self.run(0)
            try:
                response = self._users.recv(65_535)
            except BlockingIOError:
                time.sleep(0.0002)
                continue
            if f"Call-ID: {self._run}-{number}\r\n".encode() in response and response[8:9] != b"1":
                if response[8:9] != b"2":
                    raise RuntimeError(f"{method}: {response[:60]!r}")
                return
        raise TimeoutError(f"no response to {method}")
