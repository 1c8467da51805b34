"""The users of a simulation, behind one proxy: they get messages, respond, go away and come back."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from tests.simulation.time import Simulation

_BRANCH = re.compile(rb"branch=(z9hG4bK[A-Za-z0-9.-]+)")
_ADDRESS = re.compile(rb"sips?:([^>;\s]+)")
_MARK = re.compile(rb"mark=(\S+)")


@dataclass(frozen=True)
class Away:
    """How deliveries to a user fail: ``status`` 0 for none; with ``receives`` the phone gets the message."""

    status: int
    delay: float = 0.0
    receives: bool = False


@dataclass(frozen=True)
class Got:
    """A message that a phone got."""

    at: float
    room: str
    mark: str
    identity: bytes
    edge: str


def header(data: bytes, name: bytes) -> bytes:
    start = data.find(b"\r\n" + name + b":")
    return data[start + len(name) + 3 : data.find(b"\r\n", start + 2)].strip()


class Phones:
    """All users, and the proxy in front of them."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self.away: dict[str, Away] = {}
        self.got: dict[str, list[Got]] = defaultdict(list)
        self._seen: set[tuple[str, bytes]] = set()
        self._held: dict[tuple[str, bytes], int] = {}

    def send(self, data: bytes, edge: str, respond: Callable[[bytes], None]) -> None:
        """A request leaves an edge."""
        self._simulation.after(self._delay(), lambda: self._arrived(data, edge, respond))

    def _delay(self) -> float:
        random = self._simulation.random
        return random.uniform(0.0005, 0.01) if random.random() < 0.9 else random.uniform(0.01, 0.3)

    def _arrived(self, data: bytes, edge: str, respond: Callable[[bytes], None]) -> None:
        branch = _BRANCH.search(data)
        to = _ADDRESS.search(header(data, b"To"))
        assert branch is not None
        assert to is not None
        transaction, user = (edge, branch[1]), to[1].decode()
        if transaction in self._held:
            if status := self._held[transaction]:
                self._respond(data, status, respond)
            return
        away = self.away.get(user)
        if away is None:
            self._respond(data, 200, respond)
        elif away.status:
            self._held[transaction] = 0

            def respond_late(status: int = away.status) -> None:
                self._held[transaction] = status
                self._respond(data, status, respond)

            self._simulation.after(away.delay, respond_late)
        if (away is None or away.receives) and transaction not in self._seen:
            self._seen.add(transaction)
            self._record(data, user, edge)

    def _respond(self, data: bytes, status: int, respond: Callable[[bytes], None]) -> None:
        names = (b"Via", b"From", b"To", b"Call-ID", b"CSeq")
        lines = [b"SIP/2.0 %d X" % status, *(name + b": " + header(data, name) for name in names)]
        response = b"\r\n".join([*lines, b"Content-Length: 0"]) + b"\r\n\r\n"
        self._simulation.after(self._delay(), lambda: respond(response))

    def _record(self, data: bytes, user: str, edge: str) -> None:
        mark, room = _MARK.search(data), _ADDRESS.search(header(data, b"From"))
        assert room is not None
        if mark is not None:
            identity = b" ".join(header(data, name) for name in (b"Call-ID", b"CSeq"))
            now = self._simulation.now
            self.got[user].append(Got(now, room[1].decode(), mark[1].decode(), identity, edge))
