"""A small SIP user agent for the terminal: sends and receives MESSAGE over UDP (RFC 3428).

It has the client timers of RFC 3261 §17.1.2, and sends the same response to a retransmission as to the
original. It also receives over TCP on the same port, because requests that are too large for UDP come over
TCP (§18.1.1).
"""

from __future__ import annotations

import asyncio
import errno
import secrets
import socket
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from imc_cli.digest_client import DigestClient
from imc_cli.tcp_server import TcpServer
from imc_common.errors import ImcError
from imc_common.sip.errors import SipError
from imc_common.sip.message import Request, Response
from imc_common.sip.parse import parse_message
from imc_common.sip.ports import SIP_PORT
from imc_common.sip.response import build_response
from imc_common.sip.uri import Uri

T1, T2 = 0.5, 4.0  # seconds, RFC 3261 §17.1.1.1
TIMER_F = 64 * T1
EXPIRES = 600  # seconds of a registration, which is renewed after half of them
LEAVE_SECONDS = 1.0  # to wait for the registrar's response when the user leaves
MAX_REMEMBERED = 4096  # requests whose response is kept for retransmissions
ALLOW = [("Allow", "MESSAGE, OPTIONS")]


class UserAgentError(ImcError):
    """The user agent cannot use this URI or its address."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """One received MESSAGE. Retransmissions are left out."""

    sender: str  # the From URI's address
    name: str  # its display name, may be empty
    content_type: str
    text: str


@dataclass(frozen=True, slots=True)
class FinalResponse:
    """The final response to a request. Status 408 stands for no response (RFC 3261 §8.1.3.1)."""

    status: int
    reason: str
    challenges: tuple[str, ...] = ()  # of a 401

    @property
    def ok(self) -> bool:
        """Whether the request was accepted."""
        return 200 <= self.status < 300


class UserAgent(asyncio.DatagramProtocol):
    """One user at one address. Create it with :meth:`open`, and :meth:`close` it."""

    def __init__(
        self,
        uri: Uri,
        via: tuple[str, int],
        on_message: Callable[[Incoming], None],
        digest: DigestClient | None = None,
    ) -> None:
        self.address = uri.address()
        self._digest = digest
        self._via = via
        self._on_message = on_message
        self._tag = secrets.token_hex(4)
        self._cseq = 0
        self._waiting: dict[str, asyncio.Future[FinalResponse]] = {}
        self._responses: OrderedDict[tuple[str, str, str], bytes] = OrderedDict()
        self._registration = secrets.token_hex(12)  # RFC 3261 §10.2: all REGISTERs have the same Call-ID
        self._renewing: asyncio.Task[None] | None = None
        self._udp: asyncio.DatagramTransport
        self._tcp: TcpServer

    @classmethod
    async def open(
        cls,
        uri: str,
        via: tuple[str, int],
        on_message: Callable[[Incoming], None],
        password: str | None = None,
    ) -> UserAgent:
        """Listen on the host and port of ``uri`` (port 0: a free one). ``via``: the next hop of requests.

        ``password``: for digest challenges. Raises UserAgentError if ``uri`` is not that of a user, or if its
        address cannot be used.
        """
        try:
            wanted = Uri.parse(uri)
        except ValueError as error:
            raise UserAgentError(f"{uri!r} is not a SIP URI: {error}") from error
        if wanted.user is None or not wanted.is_sip:
            raise UserAgentError(f"{uri!r} is not sip:USER@HOST:PORT")
        via = await _resolve(via)
        udp, tcp = _bind(wanted.host.strip("[]"), SIP_PORT if wanted.port is None else wanted.port)
        digest = None if password is None else DigestClient(unquote(wanted.user), password)
        agent = cls(wanted._replace(port=udp.getsockname()[1]), via, on_message, digest)
        agent._udp, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: agent, sock=udp)
        agent._tcp = await TcpServer.open(tcp, agent._receive)
        return agent

    async def close(self) -> None:
        """Unregister and close the sockets. Pending sends are cancelled."""
        if self._renewing is not None:
            self._renewing.cancel()
            await self._register(0, LEAVE_SECONDS)
        for waiting in self._waiting.values():
            waiting.cancel()
        self._udp.close()
        await self._tcp.close()

    async def send(self, to: str, text: str) -> FinalResponse:
        """Send a text to the URI ``to`` and wait for the final response, at most 32 s (timer F)."""
        response = await self._transact("MESSAGE", to, text.encode(), TIMER_F)
        if (
            response.status == 401
            and self._digest is not None
            and self._digest.challenged(response.challenges)
        ):
            response = await self._transact("MESSAGE", to, text.encode(), TIMER_F)
        return response

    async def options(self, within: float) -> FinalResponse:
        """Send OPTIONS to the next hop itself (RFC 3261 §11), and wait for so many seconds."""
        host = f"[{self._via[0]}]" if ":" in self._via[0] else self._via[0]
        return await self._transact("OPTIONS", f"sip:{host}:{self._via[1]}", b"", within)

    async def register(self, within: float = 2) -> bool:
        """Register at the next hop until ``close``, so that a balancer reaches this user behind a NAT.

        False if it is not a registrar, such as an edge, which sends to the address of the user.
        """
        if self._renewing is None and (await self._register(EXPIRES, within)).ok:
            self._renewing = asyncio.create_task(self._renew())
        return self._renewing is not None

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(EXPIRES / 2)
            await self._register(EXPIRES, TIMER_F)

    async def _register(self, expires: int, within: float) -> FinalResponse:
        host = self.address.rpartition("@")[2].rpartition(":")[0]
        whose = f"To: <sip:{self.address}>"
        contact = f"Contact: <sip:{self.address}>;expires={expires}"
        call_id = f"Call-ID: {self._registration}"
        return await self._transact("REGISTER", f"sip:{host}", b"", within, (whose, call_id, contact))

    async def _transact(
        self, method: str, uri: str, body: bytes, within: float, headers: tuple[str, ...] = ()
    ) -> FinalResponse:
        """Send a request and wait. ``headers``: To, Call-ID and others, in place of the default ones."""
        self._cseq += 1
        branch = "z9hG4bK" + secrets.token_hex(8)
        headers = headers or (f"To: <{uri}>", f"Call-ID: {secrets.token_hex(12)}")
        request = self._request(method, uri, branch, body, headers)
        received: asyncio.Future[FinalResponse] = asyncio.get_running_loop().create_future()
        self._waiting[branch] = received
        retransmissions = asyncio.create_task(self._retransmit(request))
        try:
            return await asyncio.wait_for(received, within)
        except TimeoutError:
            return FinalResponse(408, "Request Timeout")
        finally:
            retransmissions.cancel()
            del self._waiting[branch]

    async def _retransmit(self, request: bytes) -> None:
        """Timer E: T1, doubling up to T2 (RFC 3261 §17.1.2.2)."""
        pause = T1
        while True:
            self._udp.sendto(request, self._via)
            await asyncio.sleep(pause)
            pause = min(pause * 2, T2)

    def _request(self, method: str, uri: str, branch: str, body: bytes, headers: tuple[str, ...]) -> bytes:
        place = self.address.rpartition("@")[2]
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/UDP {place};branch={branch};rport",
            "Max-Forwards: 70",
            f"From: <sip:{self.address}>;tag={self._tag}",
            *headers,
            f"CSeq: {self._cseq} {method}",
            *(self._digest.headers(method, uri) if self._digest and method == "MESSAGE" else ()),
            *(["Content-Type: text/plain;charset=UTF-8"] if body else []),
            f"Content-Length: {len(body)}",
        ]
        return "\r\n".join([*lines, "", ""]).encode() + body

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Process a datagram. A malformed one is discarded."""
        try:
            response = self._receive(parse_message(data))
        except SipError:
            return
        if response is not None:
            self._udp.sendto(response, addr)

    def error_received(self, exc: Exception) -> None:
        """An ICMP error. Retransmissions continue, because the peer may be starting."""

    def _receive(self, message: Request | Response) -> bytes | None:
        """The response to send; None if there is none."""
        if isinstance(message, Response):
            waiting = self._waiting.get(message.via.branch or "")
            if waiting is not None and not waiting.done() and message.status >= 200:
                waiting.set_result(
                    FinalResponse(
                        message.status,
                        message.reason,
                        tuple(message.headers.get_all("WWW-Authenticate")),
                    )
                )
            return None
        if message.method == "ACK":
            return None  # RFC 3261 §17.1.1.3: there is no response to an ACK
        key = (message.call_id, str(message.cseq), message.from_.tag or "")
        response = self._responses.get(key)
        if response is None:
            response = self._responses[key] = self._respond(message)
            if len(self._responses) > MAX_REMEMBERED:
                self._responses.popitem(last=False)
        return response

    def _respond(self, request: Request) -> bytes:
        if request.method == "OPTIONS":
            return build_response(request, 200, to_tag=self._tag, headers=ALLOW)
        if request.method != "MESSAGE":
            return build_response(request, 405, to_tag=self._tag, headers=ALLOW)
        sender = request.from_
        self._on_message(
            Incoming(
                sender=sender.uri.address(),
                name=sender.display_name,
                content_type=str(request.content_type or "text/plain"),
                text=request.body.decode("utf-8", "replace"),
            )
        )
        return build_response(request, 200, to_tag=self._tag)


async def _resolve(via: tuple[str, int]) -> tuple[str, int]:
    """The IP address and port, resolved once and not for each datagram."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(*via, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise UserAgentError(f"{via[0]} cannot be resolved: {error.strerror}") from error
    host, port = found[0][4][:2]
    return str(host), int(port)


def _bind(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """A UDP and a TCP socket on the same address and port. Port 0: one that is free for both."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for attempts_left in range(9, -1, -1):
        udp, tcp = socket.socket(family, socket.SOCK_DGRAM), socket.socket(family, socket.SOCK_STREAM)
        try:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            udp.bind((host, port))
            tcp.bind((host, udp.getsockname()[1]))
        except OSError as error:
            udp.close()
            tcp.close()
            if port or not attempts_left or error.errno != errno.EADDRINUSE:
                raise UserAgentError(f"cannot listen on {host}:{port}: {error}") from error
        else:
            return udp, tcp
    raise AssertionError("the last attempt returns or raises")
