"""The proxy and the phones of all simulated users: receives every delivery, responds, and records it.

It works on plain bytes, independent of imc's codec, so that it finds faults of the codec.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from dataclasses import dataclass, field

from tests.chaos.conference.registrar import Registrar
from tests.chaos.history import History
from tests.chaos.log import Kind, Received
from tests.chaos.loop_time import now

HEADER_NAMES = (b"Via", b"From", b"To", b"Call-ID", b"CSeq")
"""What a response copies from the request (RFC 3261 §8.2.6.2)."""

_JOINED = re.compile(rb"\b(u\d+)@\S* has joined|You (have joined)| has added ([a-z]\w*)@")
_LEFT = re.compile(rb"\b([a-z]\w*)@\S* has left|You (have left)| ha(?:s|ve) removed ([a-z]\w*)@")
_SKIPPED = re.compile(rb"You have missed (\d+) earlier message")
_BRANCH = re.compile(rb"branch=(z9hG4bK[A-Za-z0-9.-]+)")
_ADDRESS = re.compile(rb"sips?:([^@>;\s]+)@")
_TAG = re.compile(rb";tag=([^;\s]+)")

Address = tuple[str, int]
Transaction = tuple[bytes, Address]
"""A branch and the edge that sent it: the same delivery from another edge is another one."""


@dataclass(frozen=True)
class Absence:
    """How deliveries to a user fail.

    ``status`` is the proxy's response, 0 for none, sent after ``delay`` seconds. With ``receives`` the phone
    gets the message, but its response is lost.
    """

    status: int = 0
    delay: float = 0.0
    receives: bool = False


def header(head: bytes, name: bytes) -> bytes:
    """The value of the first header of this name, empty without one."""
    start = head.lower().find(b"\r\n" + name.lower() + b":")
    if start < 0:
        return b""
    start += len(name) + 3
    return head[start : head.find(b"\r\n", start)].strip()


def branch_of(data: bytes) -> bytes:
    """The branch of the topmost Via, empty without one."""
    found = _BRANCH.search(data)
    return found[1] if found else b""


@dataclass
class Proxy(asyncio.DatagramProtocol):
    """Receives the deliveries to all users at one port."""

    history: History
    problems: list[str]
    absent: dict[str, Absence] = field(default_factory=dict)
    """Users who are away at the moment."""
    unchecked: set[str] = field(default_factory=set)
    """Users left out of the history."""
    heard: Counter[str] = field(default_factory=Counter)
    """Deliveries that each user has accepted."""
    registrar: Registrar = field(default_factory=Registrar)
    """The phones that show rooms as group chats. They get their requests themselves."""

    def __post_init__(self) -> None:
        self._transport: asyncio.DatagramTransport | None = None
        self._seen: set[Transaction] = set()
        self._held: dict[Transaction, int] = {}
        """What is pending for absent users (0), or was responded: a retransmission changes neither."""

    async def open(self, port: int) -> None:
        """Listen on 127.0.0.1 at ``port``."""
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", port))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment] # a datagram endpoint's

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    def close(self) -> None:
        """Close the socket."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if self.registrar.takes(data):
            self.registrar.receive(data, addr, self._send)
            return
        if not data.startswith(b"MESSAGE "):
            return
        head, _, body = data.partition(b"\r\n\r\n")
        transaction = (branch_of(head), addr)
        to = _ADDRESS.search(header(head, b"To"))
        user = to[1].decode() if to else ""
        if not transaction[0]:
            self.problems.append(f"delivery without a branch: {head[:200]!r}")
        elif transaction in self._held:
            if status := self._held[transaction]:
                self._respond(head, addr, status)
        elif (absence := self.absent.get(user)) is not None:
            self._fail(head, body, transaction, absence)
        else:
            self._respond(head, addr, 200)
            self.heard[user] += 1
            self._record_once(head, body, transaction)

    def _fail(self, head: bytes, body: bytes, transaction: Transaction, absence: Absence) -> None:
        if absence.receives:
            self._record_once(head, body, transaction)
        if absence.status:
            self._held[transaction] = 0
            asyncio.get_running_loop().call_later(
                absence.delay, self._respond_late, head, transaction, absence.status
            )

    def _respond_late(self, head: bytes, transaction: Transaction, status: int) -> None:
        self._held[transaction] = status
        self._respond(head, transaction[1], status)

    def _send(self, data: bytes, addr: Address) -> None:
        if self._transport is not None:
            self._transport.sendto(data, addr)

    def _respond(self, head: bytes, addr: Address, status: int) -> None:
        if self._transport is None:
            return
        copied = b"".join(name + b": " + header(head, name) + b"\r\n" for name in HEADER_NAMES)
        self._transport.sendto(b"SIP/2.0 %d X\r\n" % status + copied + b"Content-Length: 0\r\n\r\n", addr)

    def _record_once(self, head: bytes, body: bytes, transaction: Transaction) -> None:
        if transaction not in self._seen:
            self._seen.add(transaction)
            self._record(head, body)

    def _record(self, head: bytes, body: bytes) -> None:
        room = _ADDRESS.search(header(head, b"From"))
        user = _ADDRESS.search(header(head, b"To"))
        if room is None or user is None:
            self.problems.append(f"delivery without addresses: {head[:200]!r}")
            return
        name = user[1].decode()
        if name in self.unchecked:
            return
        mark = body.rpartition(b"mark=")[2].decode() if b"mark=" in body else ""
        if mark:
            kind, what = Kind.MESSAGE, mark
        elif joined := _JOINED.search(body):
            kind, what = Kind.JOINED, (user[1] if joined[2] else joined[1] or joined[3]).decode()
        elif left := _LEFT.search(body):
            kind, what = Kind.LEFT, (user[1] if left[2] else left[1] or left[3]).decode()
        elif skipped := _SKIPPED.search(body):
            kind, what = Kind.SKIPPED, skipped[1].decode()
        else:
            return
        tag = _TAG.search(header(head, b"From"))
        parts = (header(head, b"Call-ID"), header(head, b"CSeq"), tag[1] if tag else b"")
        identity = b" ".join(parts).decode()
        line = Received(room[1].decode(), kind, what, identity, now())
        self.history.received[name].append(line)
