"""A small SIP user for the terminal: sends MESSAGE, receives and answers it, over UDP (RFC 3428).

It keeps RFC 3261's client timers (§17.1.2), answers a retransmission as it answered the original, and takes
what comes over TCP on the same port, because what is too large for UDP is sent there (§18.1.1).
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

from imc_cli.login import Login
from imc_cli.stream_server import StreamServer
from imc_common.errors import ImcError
from imc_common.sip.errors import SipError
from imc_common.sip.message import Request, Response
from imc_common.sip.parse import parse_message
from imc_common.sip.ports import SIP_PORT
from imc_common.sip.response import build_response
from imc_common.sip.uri import Uri

T1, T2 = 0.5, 4.0  # seconds, RFC 3261 §17.1.1.1
TIMER_F = 64 * T1
EXPIRES = 600  # seconds a registration holds; it is renewed when half of them have passed
LEAVE_SECONDS = 1.0  # for the registrar's answer, when the user goes
REMEMBERED = 4096  # requests whose answer is kept for their retransmissions
ALLOW = [("Allow", "MESSAGE, OPTIONS")]


class UserAgentError(ImcError):
    """The user cannot be where its URI says."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """One MESSAGE that came, once."""

    sender: str  # the From URI's address
    name: str  # its display name, may be empty
    content_type: str
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The final answer to a request of ours; status 408 stands for silence, as RFC 3261 §8.1.3.1 has it."""

    status: int
    reason: str
    challenges: tuple[str, ...] = ()  # of a 401

    @property
    def ok(self) -> bool:
        """Whether the message was taken."""
        return 200 <= self.status < 300


class UserAgent(asyncio.DatagramProtocol):
    """One user at one address. Make it with :meth:`open`, and :meth:`close` it."""

    def __init__(
        self,
        uri: Uri,
        via: tuple[str, int],
        on_message: Callable[[Incoming], None],
        login: Login | None = None,
    ) -> None:
        self.address = uri.address()
        self._login = login
        self._via = via
        self._on_message = on_message
        self._tag = secrets.token_hex(4)
        self._cseq = 0
        self._waiting: dict[str, asyncio.Future[Answer]] = {}
        self._answered: OrderedDict[tuple[str, str, str], bytes] = OrderedDict()
        self._registration = secrets.token_hex(12)  # RFC 3261 §10.2: all REGISTERs share their Call-ID
        self._renewing: asyncio.Task[None] | None = None
        self._udp: asyncio.DatagramTransport
        self._tcp: StreamServer

    @classmethod
    async def open(
        cls,
        uri: str,
        via: tuple[str, int],
        on_message: Callable[[Incoming], None],
        password: str | None = None,
    ) -> UserAgent:
        """Bind the host and port of ``uri`` (port 0: any free one); ``via`` is where requests are sent.

        ``password``: what challenges are answered with. Raises UserAgentError if ``uri`` is no user's, or
        its address is not ours to bind.
        """
        try:
            wanted = Uri.parse(uri)
        except ValueError as error:
            raise UserAgentError(f"{uri!r} is no SIP URI: {error}") from error
        if wanted.user is None or not wanted.is_sip:
            raise UserAgentError(f"{uri!r} is not sip:USER@HOST:PORT")
        via = await _resolve(via)
        udp, tcp = _bind(wanted.host.strip("[]"), SIP_PORT if wanted.port is None else wanted.port)
        login = None if password is None else Login(unquote(wanted.user), password)
        agent = cls(wanted._replace(port=udp.getsockname()[1]), via, on_message, login)
        agent._udp, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: agent, sock=udp)
        agent._tcp = await StreamServer.open(tcp, agent._receive)
        return agent

    async def close(self) -> None:
        """Take the registration back, give the address back; sends that wait end as cancelled."""
        if self._renewing is not None:
            self._renewing.cancel()
            await self._register(0, LEAVE_SECONDS)
        for waiting in self._waiting.values():
            waiting.cancel()
        self._udp.close()
        await self._tcp.close()

    async def send(self, to: str, text: str) -> Answer:
        """Send a text to the URI ``to``; waits for the final answer, at most 32 s (timer F)."""
        answer = await self._ask("MESSAGE", to, text.encode(), TIMER_F)
        if answer.status == 401 and self._login is not None and self._login.challenged(answer.challenges):
            answer = await self._ask("MESSAGE", to, text.encode(), TIMER_F)
        return answer

    async def options(self, within: float) -> Answer:
        """Ask the next hop itself whether it serves (RFC 3261 §11), waiting so many seconds."""
        host = f"[{self._via[0]}]" if ":" in self._via[0] else self._via[0]
        return await self._ask("OPTIONS", f"sip:{host}:{self._via[1]}", b"", within)

    async def register(self, within: float = 2) -> bool:
        """Tell the next hop where we are, so that a balancer finds us behind a NAT; kept up until ``close``.

        False if it is no registrar: an edge sends to the address itself.
        """
        if self._renewing is None and (await self._register(EXPIRES, within)).ok:
            self._renewing = asyncio.create_task(self._renew())
        return self._renewing is not None

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(EXPIRES / 2)
            await self._register(EXPIRES, TIMER_F)

    async def _register(self, expires: int, within: float) -> Answer:
        host = self.address.rpartition("@")[2].rpartition(":")[0]
        whose = f"To: <sip:{self.address}>"
        contact = f"Contact: <sip:{self.address}>;expires={expires}"
        call_id = f"Call-ID: {self._registration}"
        return await self._ask("REGISTER", f"sip:{host}", b"", within, (whose, call_id, contact))

    async def _ask(
        self, method: str, uri: str, body: bytes, within: float, headers: tuple[str, ...] = ()
    ) -> Answer:
        """Send a request; ``headers``: To, Call-ID and what more it needs, if they are not the usual ones."""
        self._cseq += 1
        branch = "z9hG4bK" + secrets.token_hex(8)
        headers = headers or (f"To: <{uri}>", f"Call-ID: {secrets.token_hex(12)}")
        request = self._request(method, uri, branch, body, headers)
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[branch] = answered
        retransmissions = asyncio.create_task(self._retransmit(request))
        try:
            return await asyncio.wait_for(answered, within)
        except TimeoutError:
            return Answer(408, "Request Timeout")
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
            *(self._login.headers(method, uri) if self._login and method == "MESSAGE" else ()),
            *(["Content-Type: text/plain;charset=UTF-8"] if body else []),
            f"Content-Length: {len(body)}",
        ]
        return "\r\n".join([*lines, "", ""]).encode() + body

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Hand a datagram on; what nobody can read is dropped."""
        try:
            answer = self._receive(parse_message(data))
        except SipError:
            return
        if answer is not None:
            self._udp.sendto(answer, addr)

    def error_received(self, exc: Exception) -> None:
        """An ICMP error: the retransmissions go on, the far end may be starting."""

    def _receive(self, message: Request | Response) -> bytes | None:
        """What to send back for what came: nothing for an answer to us."""
        if isinstance(message, Response):
            waiting = self._waiting.get(message.via.branch or "")
            if waiting is not None and not waiting.done() and message.status >= 200:
                waiting.set_result(
                    Answer(
                        message.status,
                        message.reason,
                        tuple(message.headers.get_all("WWW-Authenticate")),
                    )
                )
            return None
        if message.method == "ACK":
            return None  # RFC 3261 §17.1.1.3: an ACK is never answered
        key = (message.call_id, str(message.cseq), message.from_.tag or "")
        answer = self._answered.get(key)
        if answer is None:
            answer = self._answered[key] = self._answer(message)
            if len(self._answered) > REMEMBERED:
                self._answered.popitem(last=False)
        return answer

    def _answer(self, request: Request) -> bytes:
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
    """Host and port by number, asked for once and not with every datagram."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(*via, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise UserAgentError(f"{via[0]} cannot be found: {error.strerror}") from error
    host, port = found[0][4][:2]
    return str(host), int(port)


def _bind(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """A UDP and a TCP socket on the same address and port; port 0: one that is free for both."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for tries_left in range(9, -1, -1):
        udp, tcp = socket.socket(family, socket.SOCK_DGRAM), socket.socket(family, socket.SOCK_STREAM)
        try:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            udp.bind((host, port))
            tcp.bind((host, udp.getsockname()[1]))
        except OSError as error:
            udp.close()
            tcp.close()
            if port or not tries_left or error.errno != errno.EADDRINUSE:
                raise UserAgentError(f"cannot listen on {host}:{port}: {error}") from error
        else:
            return udp, tcp
    raise AssertionError("the last try returns or raises")
