"""A simulated SIP user on a UDP socket, independent of imc's codec: it parses with the package sipmessage."""

from __future__ import annotations

import asyncio
import itertools
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

import sipmessage

from tests.patience import PATIENCE

NUMBERS = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Received:
    """One MESSAGE that a user received."""

    sender: str  # user@host:port of From
    name: str
    content_type: str
    body: bytes
    request: sipmessage.Request
    size: int  # bytes of the whole datagram

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()


class SipUser(asyncio.DatagramProtocol):
    """A user at ``NAME@127.0.0.1:PORT``.

    ``status_for`` gives the status of its responses; None means silence.
    """

    def __init__(self, name: str, edge: tuple[str, int]) -> None:
        self.name = name
        self.edge = edge
        self.status_for: Callable[[sipmessage.Request], int | None] = lambda _: 200
        self.inbox: asyncio.Queue[Received] = asyncio.Queue()
        self.seen: list[Received] = []
        self.arrivals: list[tuple[str, str]] = []  # Call-ID and body of each datagram, also retransmissions
        self._responses: dict[str, asyncio.Future[sipmessage.Response]] = {}
        self._done: set[tuple[str, str]] = set()
        self._transport: asyncio.DatagramTransport

    @classmethod
    async def open(cls, name: str, edge: tuple[str, int], port: int = 0) -> SipUser:
        """Open a user, at a free port unless one is given."""
        user = cls(name, edge)
        loop = asyncio.get_running_loop()
        user._transport, _ = await loop.create_datagram_endpoint(lambda: user, local_addr=("127.0.0.1", port))
        return user

    def close(self) -> None:
        """Close the socket."""
        self._transport.close()

    @property
    def port(self) -> int:
        """The UDP port."""
        port: int = self._transport.get_extra_info("sockname")[1]
        return port

    @property
    def address(self) -> str:
        """The user's address, with the port."""
        return f"{self.name}@127.0.0.1:{self.port}"

    def request(
        self,
        to: str,
        body: str | bytes,
        *,
        content_type: str = "text/plain",
        headers: str = "",
        method: str = "MESSAGE",
        sender: str = "",
    ) -> bytes:
        """A request with a new branch, Call-ID and tag; ``sender`` replaces the address in From."""
        data = body.encode() if isinstance(body, str) else body
        token = secrets.token_hex(8)
        return (
            f"{method} {to} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};branch=z9hG4bK{token};rport\r\n"
            "Max-Forwards: 70\r\n"
            f'From: "{self.name}" <sip:{sender or self.address}>;tag=t{token}\r\n'
            f"To: <{to}>\r\n"
            f"Call-ID: {token}@test\r\n"
            f"CSeq: {next(NUMBERS)} {method}\r\n"
            f"{headers}"
            f"Content-Type: {content_type}\r\n"
            f"Content-Length: {len(data)}\r\n\r\n"
        ).encode() + data

    def request_with_new_branch(self, request: bytes) -> bytes:
        """The same request as a balancer's retry sends it: with another branch."""
        return re.sub(rb"branch=z9hG4bK\w+", b"branch=z9hG4bK" + secrets.token_hex(8).encode(), request)

    def transmit(self, request: bytes) -> asyncio.Future[sipmessage.Response]:
        """Send once; the future gets the final response."""
        match = re.search(rb"branch=(z9hG4bK\w+)", request)
        assert match is not None
        future = self._responses.setdefault(match[1].decode(), asyncio.get_running_loop().create_future())
        self._transport.sendto(request, self.edge)
        return future

    async def send(self, to: str, body: str | bytes, **kwargs: str) -> sipmessage.Response:
        """Send a MESSAGE with retransmissions (RFC 3261 §17.1.2); returns the final response."""
        return await self._transact(self.request(to, body, **kwargs))

    async def _transact(self, request: bytes) -> sipmessage.Response:
        for pause in (0.5, 1.0, 2.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0):
            future = self.transmit(request)
            done, _ = await asyncio.wait([future], timeout=pause)
            if done:
                return future.result()
        raise AssertionError(f"no response to {request!r}")

    async def say(self, to: str, body: str | bytes, **kwargs: str) -> None:
        """Send a MESSAGE; it must be accepted with 202.

        A 503 means that Redis did not reply within 3 s, which a stall of this machine can cause. The message
        is then sent again, as a balancer does.
        """
        request = self.request(to, body, **kwargs)
        response = await self._transact(request)
        for _ in range(10):
            if response.code != 503:
                break
            await asyncio.sleep(1)
            response = await self._transact(self.request_with_new_branch(request))
        assert response.code == 202, f"{response.code} {response.phrase}"

    async def assert_gets(self, pattern: str, within: float = PATIENCE) -> Received:
        """The text of the next MESSAGE must match the whole regular expression."""
        try:
            received = await asyncio.wait_for(self.inbox.get(), within)
        except TimeoutError:
            raise AssertionError(
                f"{self.name} got no further MESSAGE, expected {pattern!r}; got before: {self.texts()}"
            ) from None
        assert re.fullmatch(pattern, received.text, re.DOTALL), (
            f"{self.name} got {received.text!r}, expected {pattern!r}"
        )
        return received

    async def assert_gets_nothing(self, seconds: float = 0.3) -> None:
        """No MESSAGE is unread, and none comes for so many seconds."""
        await asyncio.sleep(seconds)
        assert self.inbox.empty(), f"{self.name} got {self.inbox.get_nowait().text!r}"

    async def until(self, enough: Callable[[list[str]], bool]) -> None:
        """Wait until ``enough`` is true of the texts received so far."""
        deadline = time.monotonic() + PATIENCE
        while not enough(self.texts()):
            assert time.monotonic() < deadline, f"{self.name} got only {self.texts()}"
            await asyncio.sleep(0.02)

    def drain(self) -> list[Received]:
        """Remove and return all unread MESSAGEs."""
        return [self.inbox.get_nowait() for _ in range(self.inbox.qsize())]

    def texts(self) -> list[str]:
        """The texts of all MESSAGEs so far, without retransmissions."""
        return [received.text for received in self.seen]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Respond to a request and put it into the inbox once; complete the future of a response."""
        message = sipmessage.Message.parse(data)
        if isinstance(message, sipmessage.Response):
            future = self._responses.get(message.via[0].parameters.get("branch") or "")
            if future is not None and not future.done() and message.code >= 200:
                future.set_result(message)
            return
        assert isinstance(message, sipmessage.Request)
        self.arrivals.append((message.call_id, message.body.decode("utf-8", "replace")))
        status = self.status_for(message)
        if status is not None:
            self._transport.sendto(response_to(message, status), addr)
        key = (message.call_id, str(message.cseq))
        if key not in self._done:
            self._done.add(key)
            self._receive(message, len(data))

    def _receive(self, message: sipmessage.Request, size: int) -> None:
        sender = message.from_address
        place = f"{sender.uri.host}:{sender.uri.port}" if sender.uri.port else sender.uri.host
        received = Received(
            sender=f"{sender.uri.user}@{place}",
            name=sender.name,
            content_type=str(message.content_type),
            body=message.body,
            request=message,
            size=size,
        )
        self.seen.append(received)
        self.inbox.put_nowait(received)


def response_to(request: sipmessage.Request, status: int) -> bytes:
    """A response (RFC 3261 §8.2.6): Via, From, Call-ID and CSeq copied, To with a tag."""
    copied = [f"{name}: {value}" for name in ("Via", "From") for value in request.headers.getlist(name)]
    to = f"To: {request.headers['To']};tag=peer"
    rest = [f"Call-ID: {request.call_id}", f"CSeq: {request.headers['CSeq']}", "Content-Length: 0"]
    return "\r\n".join([f"SIP/2.0 {status} Test", *copied, to, *rest, "", ""]).encode()


def notice(*parts: str) -> str:
    """A pattern for a notice that contains all these parts in any order."""
    return r"\*\*\* " + "".join(f"(?=.*{re.escape(part)})" for part in parts) + ".+"
