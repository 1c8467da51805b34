"""A small SIP user agent for the terminal: sends and receives MESSAGE over UDP (RFC 3428).

It has the client timers of RFC 3261 §17.1.2, and sends the same response to a retransmission as to the
original. It also receives over TCP on the same port, because requests that are too large for UDP come over
TCP (RFC 3261 §18.1.1).
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from imc_cli.digest_client import DigestClient
from imc_cli.own_address import bind, place_in, reached_at, resolved, towards, user_uri
from imc_cli.tcp_server import TcpServer
from imc_common.sip.errors import SipError
from imc_common.sip.message import Request, Response
from imc_common.sip.parse import parse_message
from imc_common.sip.response import build_response

T1, T2 = 0.5, 4.0  # seconds, RFC 3261 §17.1.1.1
TIMER_F = 64 * T1
EXPIRES = 600  # seconds of a registration, which is renewed after half of them
AFTER_FAILURE = 60  # the same after a renewal that failed
LEAVE_SECONDS = 1.0  # to wait for the registrar's response when the user leaves
MAX_REMEMBERED = 4096  # requests that are recognised if they come again
_CHALLENGES = {401: "WWW-Authenticate", 407: "Proxy-Authenticate"}
_CREDENTIALS = {401: "Authorization", 407: "Proxy-Authorization"}
_EXPIRES = re.compile(r";\s*expires\s*=\s*(\d{1,9})", re.IGNORECASE).search
ALLOW = [("Allow", "MESSAGE, OPTIONS")]


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
    challenges: tuple[str, ...] = ()  # of a 401 or 407
    contacts: str = ""  # of a registrar
    warning: str = ""

    @property
    def ok(self) -> bool:
        """Whether the request was accepted."""
        return 200 <= self.status < 300


class UserAgent(asyncio.DatagramProtocol):
    """One user at one address. Create it with :meth:`open`, and :meth:`close` it."""

    def __init__(
        self,
        address: str,
        place: str,
        via: tuple[str, int],
        on_message: Callable[[Incoming], None],
        password: str | None = None,
    ) -> None:
        """``address``: USER@HOST or USER@HOST:PORT for From; ``place``: HOST:PORT for Via and Contact."""
        self.address = address
        self.place = place
        self._user = address.rpartition("@")[0]
        self._via = via
        self._on_message = on_message
        self._digests = {
            status: DigestClient(unquote(self._user), password, header)
            for status, header in _CREDENTIALS.items()
            if password is not None
        }
        self._tag = secrets.token_hex(4)
        self._cseq = 0
        self._waiting: dict[str, asyncio.Future[FinalResponse]] = {}
        self._seen: OrderedDict[tuple[str, str, str], None] = OrderedDict()
        self._registration = secrets.token_hex(12)  # RFC 3261 §10.2: all REGISTERs have the same Call-ID
        self._renewing: asyncio.Task[None] | None = None
        self._is_off = False
        self._udp: asyncio.DatagramTransport
        self._tcp: TcpServer

    @classmethod
    async def open(
        cls,
        uri: str,
        via: tuple[str, int],
        on_message: Callable[[Incoming], None],
        password: str | None = None,
        listen: tuple[str, int] | None = None,
    ) -> UserAgent:
        """Be the user of ``uri``, which becomes From, and listen. ``via``: the next hop of requests.

        ``listen``: host and port; port 0: a free one. Without it, those of ``uri`` if it has an IP address,
        else the address of this machine towards the next hop. ``password``: for digest challenges. Raises
        UserAgentError if ``uri`` is not that of a user, or if an address cannot be used.
        """
        wanted = user_uri(uri)
        via = await resolved(via)
        in_uri = None if listen else place_in(wanted)
        udp, tcp = bind(*(listen or in_uri or (towards(via), 0)))
        address, place = wanted.address(), reached_at(udp, via)
        if in_uri:  # with the port that was free, and without the name localhost
            address = f"{address.rpartition('@')[0]}@{place}"
        agent = cls(address, place, via, on_message, password)
        agent._udp, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: agent, sock=udp)
        agent._tcp = await TcpServer.open(tcp, agent._receive)
        return agent

    async def close(self) -> None:
        """Unregister and close the sockets. Pending sends are cancelled."""
        await self._unregister()
        for waiting in self._waiting.values():
            waiting.cancel()
        self._udp.close()
        await self._tcp.close()

    async def switch_off(self) -> None:
        """Unregister, then be silent as a phone that is off, until ``switch_on``."""
        await self._unregister()
        self._is_off = True

    async def switch_on(self, within: float) -> FinalResponse:
        """Receive again, and register as ``register`` does."""
        self._is_off = False
        return await self.register(within)

    async def send(self, to: str, text: str) -> FinalResponse:
        """Send a text to the URI ``to`` and wait for the final response, at most 32 s (timer F)."""
        return await self._authenticated("MESSAGE", to, text.encode(), TIMER_F)

    async def options(self, within: float) -> FinalResponse:
        """Send OPTIONS to the next hop itself (RFC 3261 §11), and wait for so many seconds."""
        host = f"[{self._via[0]}]" if ":" in self._via[0] else self._via[0]
        return await self._transact("OPTIONS", f"sip:{host}:{self._via[1]}", b"", within)

    async def register(self, within: float) -> FinalResponse:
        """Register at the next hop until ``close``, so that it reaches this user, also behind a NAT.

        Waits for so many seconds. An edge is no registrar: it sends to the address of the user.
        """
        response = await self._register(EXPIRES, within)
        if response.ok and self._renewing is None:
            self._renewing = asyncio.create_task(self._renew(self._granted(response)))
        return response

    def _granted(self, response: FinalResponse) -> int:
        """The seconds that the registrar granted for our contact, of all that the user has."""
        ours = next((each for each in response.contacts.split(",") if self.place in each), "")
        granted = _EXPIRES(ours)
        return int(granted[1]) if granted else EXPIRES

    async def _renew(self, expires: int) -> None:
        while True:
            await asyncio.sleep(max(expires / 2, 1))
            response = await self._register(EXPIRES, TIMER_F)
            expires = self._granted(response) if response.ok else AFTER_FAILURE

    async def _unregister(self) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None
            await self._register(0, LEAVE_SECONDS)

    async def _register(self, expires: int, within: float) -> FinalResponse:
        registrar = f"sip:{user_uri(f'sip:{self.address}').host}"
        whose = f"To: <sip:{self.address}>"
        contact = f"Contact: <sip:{self._user}@{self.place}>;expires={expires}"
        call_id = f"Call-ID: {self._registration}"
        return await self._authenticated("REGISTER", registrar, b"", within, (whose, call_id, contact))

    async def _authenticated(
        self, method: str, uri: str, body: bytes, within: float, headers: tuple[str, ...] = ()
    ) -> FinalResponse:
        """Send a request, and again with credentials after a challenge, once for each kind of challenge.

        A proxy challenges with 407, and a server behind it with 401.
        """
        credentials = set(self._digests)
        while True:
            response = await self._transact(method, uri, body, within, headers)
            if response.status not in credentials:
                return response
            credentials.remove(response.status)
            if not self._digests[response.status].challenged(response.challenges):
                return response

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
            async with asyncio.timeout(within):
                return await received
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
        credentials = [] if method == "OPTIONS" else self._digests.values()
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/UDP {self.place};branch={branch};rport",
            "Max-Forwards: 70",
            f"From: <sip:{self.address}>;tag={self._tag}",
            *headers,
            f"CSeq: {self._cseq} {method}",
            *(line for digest in credentials for line in digest.headers(method, uri)),
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
        if self._is_off:
            return None
        if isinstance(message, Response):
            waiting = self._waiting.get(message.via.branch or "")
            if waiting is not None and not waiting.done() and message.status >= 200:
                name = _CHALLENGES.get(message.status, "WWW-Authenticate")
                challenges = tuple(message.headers.get_all(name))
                contacts = ",".join(message.headers.get_all("Contact"))
                warning = message.headers.get("Warning") or ""
                waiting.set_result(
                    FinalResponse(message.status, message.reason, challenges, contacts, warning)
                )
            return None
        if message.method == "ACK":
            return None  # RFC 3261 §17.1.1.3: there is no response to an ACK
        # a message that was shown may come again in a new transaction, which gets a response of its own
        key = (message.call_id, str(message.cseq), message.from_.tag or "")
        is_new = key not in self._seen
        self._seen[key] = None
        if len(self._seen) > MAX_REMEMBERED:
            self._seen.popitem(last=False)
        return self._respond(message, is_new)

    def _respond(self, request: Request, is_new: bool) -> bytes:
        if request.method == "OPTIONS":
            return build_response(request, 200, to_tag=self._tag, headers=ALLOW)
        if request.method != "MESSAGE":
            return build_response(request, 405, to_tag=self._tag, headers=ALLOW)
        sender = request.from_
        if is_new:
            self._on_message(
                Incoming(
                    sender=sender.uri.address(),
                    name=sender.display_name,
                    content_type=str(request.content_type or "text/plain"),
                    text=request.body.decode("utf-8", "replace"),
                )
            )
        return build_response(request, 200, to_tag=self._tag)
