"""Users whose phones were off return: how long until they have what was said meanwhile."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from itertools import count

from bench.load import Group
from bench.systems import Imc, System
from imc_common import keys

DOMAIN = "bench.example"
SPEAKER, RETURNING = "u-9-0-0", "u-9-0-1"
"""Users with odd numbers have no phone, as in the load generator, until they register."""
MESSAGES = 50
PATIENCE_SECONDS = 60.0
SETTLE_SECONDS = 1.0
HERD_SECONDS = 60.0
"""Users who have not caught up after this time are counted as never."""
SHARDS = 16


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


class Herd:
    """All members of a group who have no phone register within a second, as after a registrar's restart."""

    def __init__(self, system: Imc, group: Group) -> None:
        self._system = system
        self._away = [
            f"u-{group.id}-{room}-{member}"
            for room in range(group.rooms)
            for member in range(1, group.members, 2)
        ]
        self.seconds = HERD_SECONDS
        """From the first REGISTER until nobody has missed anything any more."""

    @property
    def users(self) -> int:
        """How many return."""
        return len(self._away)

    def run(self) -> None:
        """Register them all, and wait until they have caught up."""
        host, port = self._system.target.rsplit(":", 1)
        began = time.monotonic()
        with socket.socket(type=socket.SOCK_DGRAM) as users:
            users.bind(("127.0.0.1", 0))
            users.connect((host, int(port)))
            users.setblocking(False)
            here = "{}:{}".format(*users.getsockname())
            for number, user in enumerate(self._away):
                users.send(
                    _request(
                        "REGISTER",
                        f"sip:{DOMAIN}",
                        user,
                        f"sip:{user}@{DOMAIN}",
                        here=here,
                        token=f"herd{began}-{number}",
                    )
                )
                time.sleep(max(0.0, began + number / len(self._away) - time.monotonic()))
                with suppress(BlockingIOError):
                    users.recv(65_535)
        while self._still_away() and time.monotonic() < began + HERD_SECONDS:
            time.sleep(0.2)
        self.seconds = time.monotonic() - began

    def _still_away(self) -> bool:
        return any(self._system.redis("ZCARD", keys.probes(shard)) != "0" for shard in range(SHARDS))


def _request(method: str, uri: str, user: str, to: str, *, here: str, token: str, body: str = "") -> bytes:
    """A request of a user, from the socket address ``here``."""
    lines = (
        f"{method} {uri} SIP/2.0",
        f"Via: SIP/2.0/UDP {here};rport;branch=z9hG4bK{token}",
        f"From: <sip:{user}@{DOMAIN}>;tag={token}",
        f"To: <{to}>",
        f"Call-ID: {token}",
        f"CSeq: 1 {method}",
        "Max-Forwards: 70",
        f"Contact: <sip:{user}@{here}>",
        "Expires: 600",
        *(("Content-Type: text/plain",) if body else ()),
        f"Content-Length: {len(body)}",
    )
    return ("\r\n".join(lines) + f"\r\n\r\n{body}").encode()


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
        self._users.setblocking(False)
        self._is_back = False
        self._number = count(1)
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
        self._send("MESSAGE", f"sip:{room}@{DOMAIN}", user, f"sip:{room}@{DOMAIN}", text)

    def come_back(self) -> None:
        """The returning user registers."""
        self._is_back = True
        self._send("REGISTER", f"sip:{DOMAIN}", RETURNING, f"sip:{RETURNING}@{DOMAIN}", "")

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

    def _send(self, method: str, uri: str, user: str, to: str, body: str) -> None:
        """Send a request, and respond to deliveries until it has its final response."""
        token = f"{self._run}-{next(self._number)}"
        here = "{}:{}".format(*self._users.getsockname())
        self._users.sendto(_request(method, uri, user, to, here=here, token=token, body=body), self._target)
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            self.run(0)
            try:
                response = self._users.recv(65_535)
            except BlockingIOError:
                time.sleep(0.0002)
                continue
            if f"Call-ID: {token}\r\n".encode() in response and response[8:9] != b"1":
                if response[8:9] != b"2":
                    raise RuntimeError(f"{method}: {response[:60]!r}")
                return
        raise TimeoutError(f"no response to {method}")
