"""Simulated SIP users: one UDP socket sends for them all, and a proxy receives what is delivered to them.

imc's ``outbound_proxy`` points to that proxy, so every delivery comes to it.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass, field

from tests.chaos.history import History
from tests.chaos.log import Sent
from tests.chaos.proxy import Absence, Proxy, branch_of, header

DOMAIN = "chaos.example"
ATTEMPT_SECONDS = 2.0  # after that the next edge is tried, as a balancer does
GIVE_UP_SECONDS = 240.0
RETRANSMIT_SECONDS = (0.5, 1.0)


@dataclass
class Population(asyncio.DatagramProtocol):
    """All users, on one socket. ``edges`` are the ports of the edges on 127.0.0.1."""

    edges: list[int]
    history: History = field(default_factory=History)
    problems: list[str] = field(default_factory=list)
    rooms: dict[str, str] = field(default_factory=dict)
    """The observer of each room that is checked."""
    quiet: set[str] = field(default_factory=set)
    """Users who send nothing at the moment, because they are away."""
    been_absent: set[str] = field(default_factory=set)
    """Users who have been away, so that deliveries to them may have failed."""

    def __post_init__(self) -> None:
        self.proxy = Proxy(self.history, self.problems)
        self._numbers = itertools.count(1)
        self._waiting: dict[bytes, asyncio.Future[int]] = {}
        self._pauses: dict[bytes, int] = {}  # Retry-After by branch, where it was asked for

    @classmethod
    async def open(cls, edges: list[int], port: int) -> Population:
        """Open a socket for requests, and the proxy on 127.0.0.1 at ``port``."""
        loop = asyncio.get_running_loop()
        _, population = await loop.create_datagram_endpoint(lambda: cls(edges), local_addr=("127.0.0.1", 0))
        await population.proxy.open(port)
        return population

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.DatagramTransport = transport  # type: ignore[assignment] # a datagram endpoint's
        self._port = transport.get_extra_info("sockname")[1]

    def close(self) -> None:
        self._transport.close()
        self.proxy.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if not data.startswith(b"SIP/2.0 "):
            return
        branch = branch_of(data)
        status = int(data[8:11])
        waiting = self._waiting.get(branch)
        if waiting and not waiting.done() and status >= 200:
            if branch in self._pauses:
                head = data.partition(b"\r\n\r\n")[0] + b"\r\n"
                self._pauses[branch] = int(header(head, b"Retry-After") or 0)
            waiting.set_result(status)

    # --- going away and coming back

    def leave(self, user: str, absence: Absence, *, talks: bool = False) -> None:
        """Deliveries to the user fail from now on; it sends nothing itself, unless it ``talks``."""
        self.been_absent.add(user)
        self.proxy.absent[user] = absence
        if not talks:
            self.quiet.add(user)

    def come_back(self, user: str) -> None:
        """Deliveries to the user succeed again. It is quiet until `talk_again`."""
        self.proxy.absent.pop(user, None)

    def talk_again(self, user: str) -> None:
        self.quiet.discard(user)

    async def register(self, user: str, expires: int) -> int:
        """The proxy's copy of the user's REGISTER, to one edge and then the next; returns the status."""
        number = next(self._numbers)
        status = 0
        for attempt in range(len(self.edges)):
            port = self.edges[(number + attempt) % len(self.edges)]
            branch = f"z9hG4bK{self._port}.{number}.{attempt}"
            status = await self._attempt(self._register(user, expires, number, branch), branch, port)
            if status not in (0, 503):
                break
        if status not in (0, 200, 503):
            self.problems.append(f"REGISTER of {user} ended with {status}")
        return status

    def _register(self, user: str, expires: int, number: int, branch: str) -> bytes:
        return (
            f"REGISTER sip:{DOMAIN} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{self._port};rport;branch={branch}\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:{user}@{DOMAIN}>;tag={number}\r\nTo: <sip:{user}@{DOMAIN}>\r\n"
            f"Call-ID: {number}.{self._port}@{DOMAIN}\r\nCSeq: {number} REGISTER\r\n"
            f"Contact: <sip:{user}@127.0.0.1:{self._port}>\r\nExpires: {expires}\r\n"
            "Content-Length: 0\r\n\r\n"
        ).encode()

    # --- sending

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
