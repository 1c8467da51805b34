"""Simulated SIP users: one UDP socket plays them all and records everything they send and receive.

It works on plain bytes, independent of imc's codec, so that it finds faults of the codec. imc's
``outbound_proxy`` points here, so every delivery comes to this socket.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from dataclasses import dataclass, field

from tests.chaos.history import History, Kind, Received, Sent

DOMAIN = "chaos.example"
ATTEMPT_SECONDS = 2.0  # after that the next edge is tried, as a balancer does
GIVE_UP_SECONDS = 240.0
RETRANSMIT_SECONDS = (0.5, 1.0)

_JOINED = re.compile(rb"\b(u\d+)@\S* has joined|You (have joined)")
_LEFT = re.compile(rb"\b(u\d+)@\S* (?:has left|could not be reached)| ha(?:s|ve) removed (u\d+)@")
_BRANCH = re.compile(rb"branch=(z9hG4bK[A-Za-z0-9.-]+)")
_ADDRESS = re.compile(rb"sips?:([^@>;\s]+)@")


def _header(head: bytes, name: bytes) -> bytes:
    start = head.lower().find(b"\r\n" + name.lower() + b":")
    if start < 0:
        return b""
    start += len(name) + 3
    return head[start : head.find(b"\r\n", start)].strip()


def _recipient(head: bytes) -> str:
    address = _ADDRESS.search(_header(head, b"To"))
    return address[1].decode() if address else ""


@dataclass
class Population(asyncio.DatagramProtocol):
    """All users, on one socket. ``edges`` are the ports of the edges on 127.0.0.1."""

    edges: list[int]
    history: History = field(default_factory=History)
    problems: list[str] = field(default_factory=list)
    rooms: dict[str, str] = field(default_factory=dict)
    """The observer of each room that is checked."""
    silent: set[str] = field(default_factory=set)
    """Users who currently ignore deliveries."""
    unchecked: set[str] = field(default_factory=set)
    """Users left out of the history, because they are silent at times."""

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)
        self._waiting: dict[bytes, asyncio.Future[int]] = {}
        self._transactions: set[tuple[bytes, tuple[str, int]]] = (
            set()
        )  # the same delivery from another edge is another one
        self._pauses: dict[bytes, int] = {}  # Retry-After by branch, where it was asked for

    @classmethod
    async def open(cls, edges: list[int], port: int) -> Population:
        """Open the socket on 127.0.0.1 at ``port``."""
        loop = asyncio.get_running_loop()
        _, population = await loop.create_datagram_endpoint(
            lambda: cls(edges), local_addr=("127.0.0.1", port)
        )
        return population

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.DatagramTransport = transport  # type: ignore[assignment] # a datagram endpoint's
        self._port = transport.get_extra_info("sockname")[1]

    def close(self) -> None:
        self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if data.startswith(b"SIP/2.0 "):
            self._on_response(data)
        elif data.startswith(b"MESSAGE "):
            self._on_delivery(data, addr)

    def _on_response(self, data: bytes) -> None:
        branch = _BRANCH.search(data)
        status = int(data[8:11])
        waiting = self._waiting.get(branch[1]) if branch else None
        if branch and waiting and not waiting.done() and status >= 200:
            if branch[1] in self._pauses:
                head = data.partition(b"\r\n\r\n")[0] + b"\r\n"
                self._pauses[branch[1]] = int(_header(head, b"Retry-After") or 0)
            waiting.set_result(status)

    def _on_delivery(self, data: bytes, addr: tuple[str, int]) -> None:
        head, _, body = data.partition(b"\r\n\r\n")
        if self.silent and _recipient(head) in self.silent:
            return
        copied = b"".join(
            name + b": " + _header(head, name) + b"\r\n"
            for name in (b"Via", b"From", b"To", b"Call-ID", b"CSeq")
        )
        self._transport.sendto(b"SIP/2.0 200 OK\r\n" + copied + b"Content-Length: 0\r\n\r\n", addr)
        branch = _BRANCH.search(head)
        if branch is None:
            self.problems.append(f"delivery without a branch: {head[:200]!r}")
        elif (branch[1], addr) not in self._transactions:
            self._transactions.add((branch[1], addr))
            self._record(head, body)

    def _record(self, head: bytes, body: bytes) -> None:
        room = _ADDRESS.search(_header(head, b"From"))
        user = _ADDRESS.search(_header(head, b"To"))
        if room is None or user is None:
            self.problems.append(f"delivery without addresses: {head[:200]!r}")
            return
        if user[1].decode() in self.unchecked:
            return
        mark = body.rpartition(b"mark=")[2].decode() if b"mark=" in body else ""
        if mark:
            kind, what = Kind.MESSAGE, mark
        elif joined := _JOINED.search(body):
            kind, what = Kind.JOINED, (user if joined[2] else joined)[1].decode()
        elif left := _LEFT.search(body):
            kind, what = Kind.LEFT, (left[1] or left[2]).decode()
        else:
            return
        name, call_id = user[1].decode(), _header(head, b"Call-ID").decode()
        line = Received(room[1].decode(), kind, what, call_id, time.monotonic())
        self.history.received[name].append(line)

    async def say(self, user: str, room: str, mark: str) -> None:
        """Send one message, and retry until it is accepted."""
        await self._say(user, room, mark, GIVE_UP_SECONDS)

    async def say_once(self, user: str, room: str, mark: str) -> int:
        """Send one message without retries; returns the status, 0 without a response."""
        return await self._say(user, room, mark, 0)

    async def _say(self, user: str, room: str, mark: str, seconds: float) -> int:
        place = len(self.history.sent)
        self.history.sent.append(Sent(room, user, mark, accepted=False, at=time.monotonic()))
        status = await self.request(user, room, f"mark={mark}", seconds)
        sent = self.history.sent[place]
        self.history.sent[place] = Sent(room, user, mark, accepted=200 <= status < 300, at=sent.at)
        return status

    async def command(self, user: str, room: str, line: str) -> None:
        """Send a command, and retry until it is accepted."""
        status = await self.request(user, room, line)
        if not 200 <= status < 300:
            self.problems.append(f"{user}: {line} in {room} ended with {status}")

    async def request(self, user: str, room: str, text: str, seconds: float = GIVE_UP_SECONDS) -> int:
        """Send a request; returns the final status.

        After a 503, or without a response, the same request goes to the next edge with a new branch.
        """
        number = next(self._numbers)
        until = time.monotonic() + seconds
        status = 0
        for attempt in itertools.count():
            port = self.edges[(number + attempt) % len(self.edges)]
            branch = f"z9hG4bK{self._port}.{number}.{attempt}"
            status = await self._attempt(self._message(user, room, text, number, branch), branch, port)
            if status not in (0, 503) or time.monotonic() > until:
                break
            await asyncio.sleep(0.2 if status else 0)
        return status

    async def retry_after(self, port: int) -> int:
        """The Retry-After of this edge's 503, in seconds; 0 if it has none."""
        number = next(self._numbers)
        branch = f"z9hG4bK{self._port}.{number}.0"
        data = self._message("observer0", "room0", "#help", number, branch)
        self._pauses[branch.encode()] = 0
        assert await self._attempt(data, branch, port) == 503
        return self._pauses.pop(branch.encode())

    def _message(self, user: str, room: str, text: str, number: int, branch: str) -> bytes:
        return (
            f"MESSAGE sip:{room}@{DOMAIN} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{self._port};rport;branch={branch}\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:{user}@{DOMAIN}>;tag={number}\r\nTo: <sip:{room}@{DOMAIN}>\r\n"
            f"Call-ID: {number}.{self._port}@{DOMAIN}\r\nCSeq: {number} MESSAGE\r\n"
            f"Content-Type: text/plain\r\nContent-Length: {len(text)}\r\n\r\n{text}"
        ).encode()

    async def _attempt(self, data: bytes, branch: str, port: int) -> int:
        """Send to one edge, with retransmissions; returns the final status, 0 without a response in time."""
        response: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting[branch.encode()] = response
        try:
            for pause in (*RETRANSMIT_SECONDS, ATTEMPT_SECONDS - sum(RETRANSMIT_SECONDS)):
                self._transport.sendto(data, ("127.0.0.1", port))
                done, _ = await asyncio.wait([response], timeout=pause)
                if done:
                    return response.result()
            return 0
        finally:
            del self._waiting[branch.encode()]
