"""What phones send: requests to one edge and then the next, as through a balancer (RFC 3261 §17.1)."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable

from tests.chaos.conference.wire import Headers, Message, message
from tests.chaos.loop_time import now

ATTEMPT_SECONDS = 2.0
GIVE_UP_SECONDS = 240.0
RETRANSMIT_SECONDS = (0.5, 0.5, 1.0)
AGAIN = frozenset((408, 503, 504))
"""Statuses after which a client, or the balancer in front of it, sends the request again."""


class Requests(asyncio.DatagramProtocol):
    """One socket for the requests of all phones, and the responses to them."""

    def __init__(self, edges: list[int], random: random.Random) -> None:
        self._edges = edges
        self._random = random
        self._numbers = itertools.count(1)
        self._waiting: dict[str, asyncio.Future[Message]] = {}
        self._invites: dict[str, Message] = {}
        self._acks: dict[tuple[str, int], Callable[[Message], None]] = {}

    @classmethod
    async def open(cls, edges: list[int], random: random.Random) -> Requests:
        """Open the socket. ``edges`` are ports on 127.0.0.1."""
        loop = asyncio.get_running_loop()
        _, made = await loop.create_datagram_endpoint(lambda: cls(edges, random), local_addr=("127.0.0.1", 0))
        return made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.DatagramTransport = transport  # type: ignore[assignment] # a datagram endpoint's
        self._port = transport.get_extra_info("sockname")[1]

    def close(self) -> None:
        self._transport.close()

    def new_id(self, kind: str) -> str:
        """A Call-ID, tag or Message-ID that nobody else has."""
        return f"{kind}{next(self._numbers)}.{self._port}"

    async def send(
        self, method: str, uri: str, headers: Headers, body: bytes = b"", *, seconds: float = GIVE_UP_SECONDS
    ) -> Message | None:
        """Send a request until there is a final response that ends it; None if there was none.

        ``headers`` have everything but Via.
        """
        number = next(self._numbers)
        until = now() + seconds
        answer = None
        for attempt in itertools.count():
            port = self._edges[(number + attempt) % len(self._edges)]
            branch = f"z9hG4bK{self._port}.{number}.{attempt}"
            data = self._bytes(method, uri, branch, headers, body)
            answer = await self._attempt(data, branch, port)
            if (answer is not None and answer.status not in AGAIN) or now() > until:
                break
            await asyncio.sleep(0.2 if answer is not None else 0)
        return answer

    def acknowledge(self, call_id: str, cseq: int, ack: Callable[[Message], None]) -> None:
        """Call ``ack`` for each 2xx to this INVITE: every one gets an ACK (RFC 3261 §13.2.2.4)."""
        self._acks[call_id, cseq] = ack

    def send_ack(self, uri: str, headers: Headers) -> None:
        """The ACK of a 2xx goes to any edge."""
        branch = f"z9hG4bK{self._port}.{next(self._numbers)}.ack"
        data = self._bytes("ACK", uri, branch, headers, b"")
        self._transport.sendto(data, ("127.0.0.1", self._random.choice(self._edges)))

    def _bytes(self, method: str, uri: str, branch: str, headers: Headers, body: bytes) -> bytes:
        via = f"SIP/2.0/UDP 127.0.0.1:{self._port};rport;branch={branch}"
        return message(f"{method} {uri} SIP/2.0", [("Via", via), ("Max-Forwards", "70"), *headers], body)

    async def _attempt(self, data: bytes, branch: str, port: int) -> Message | None:
        """Send to one edge, with retransmissions; None without a final response in time."""
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[branch] = answer
        if data.startswith(b"INVITE "):
            self._invites[branch] = Message.parse(data)
        try:
            for pause in RETRANSMIT_SECONDS:
                self._transport.sendto(data, ("127.0.0.1", port))
                done, _ = await asyncio.wait([answer], timeout=pause)
                if done:
                    return answer.result()
            return None
        finally:
            del self._waiting[branch]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        got = Message.parse(data)
        if got.status < 200:
            return
        if got.get("cseq").endswith("INVITE"):
            self._acknowledge(got, addr)
        waiting = self._waiting.get(got.branch)
        if waiting is not None and not waiting.done():
            waiting.set_result(got)

    def _acknowledge(self, got: Message, addr: tuple[str, int]) -> None:
        if got.status < 300:
            ack = self._acks.get((got.get("call-id"), got.cseq))
            if ack is not None:
                ack(got)
            return
        request = self._invites.get(got.branch)
        if request is not None:  # RFC 3261 §17.1.1.3: with the branch of the INVITE
            names = ("via", "from", "call-id")
            copied = [(name, value) for name, value in request.headers if name in names]
            headers = [*copied, ("To", got.get("to")), ("CSeq", f"{got.cseq} ACK"), ("Max-Forwards", "70")]
            self._transport.sendto(message(f"ACK {request.uri} SIP/2.0", headers), addr)
