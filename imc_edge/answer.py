"""Responses: what makes them the same on every edge, and where they go.

Nothing is remembered between a request and its retransmission. The To tag is a keyed hash of what the two
have in common, so any edge that knows the key gives the same answer (RFC 3261 §8.2.7).
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Sequence
from hashlib import blake2b
from ipaddress import ip_address
from typing import NamedTuple

from imc_common.sip.answer import asks_for_source, copied_headers, finish_response
from imc_common.sip.errors import SipError
from imc_common.sip.message import Request
from imc_common.sip.via import Via
from imc_edge.flow import Flow, SocketAddress

SEEN_BYTES = 9
"""72 bits, 12 letters. Redis keeps millions of them, and writes them anew with its append-only file, so no
more than it takes: at 20,000 requests a second one is taken for another in some 40,000 years, and nobody who
does not know the key finds two alike."""
TAG_BYTES = 8
PADDING = 32
"""Bytes of which a 202's length is a multiple."""
_DEFAULT_PORT = {"udp": 5060, "tcp": 5060, "tls": 5061}


class Fingerprint(NamedTuple):
    """What a request shares with its retransmissions and with a balancer's retries."""

    seen: str
    """What is remembered of a request, to know it again (`lua/include/accept.lua`)."""
    tag: str
    """Our To tag."""


class Fingerprints:
    """Makes fingerprints with the key that all edges share."""

    def __init__(self, secret: bytes) -> None:
        """``secret`` has at most 64 bytes."""
        self._keyed = blake2b(key=secret, digest_size=SEEN_BYTES + TAG_BYTES)

    def of(self, request: Request, method: str = "") -> Fingerprint:
        """By Call-ID, CSeq and From tag: the branch may differ (a balancer's retry).

        ``method`` stands in for the one in CSeq: a CANCEL finds the request that it is about.
        """
        get = request.headers.first.get
        cseq = get("CSeq") or ""
        if method:
            cseq = f"{cseq.split(None, 1)[0]} {method}"
        digest = self._keyed.copy()
        digest.update(f"{get('Call-ID')}\0{cseq}\0{_from_tag(request)}".encode(errors="surrogateescape"))
        made = digest.digest()
        return Fingerprint(b2a_base64(made[:SEEN_BYTES], newline=False).decode(), made[SEEN_BYTES:].hex())


class Answer:
    """The answer to one request, but for its status: all of the request that has to be kept until then."""

    __slots__ = ("_copied", "_flow", "_to", "tag")

    def __init__(self, request: Request, flow: Flow, tag: str) -> None:
        """Made of a request whose top Via cannot be read, it is never sent: there is nowhere to send it."""
        self.tag = tag
        self._flow = flow
        self._copied = copied_headers(request, tag, flow.peer)
        self._to = _destination(request, flow)

    def send(self, status: int, reason: str | None = None, headers: Sequence[tuple[str, str]] = ()) -> None:
        """Send it to where RFC 3261 §18.2.2 and RFC 3581 want it, without a body (RFC 3261 §8.2.6)."""
        if self._to is None:
            return
        extra = "".join([f"{name}: {value}\r\n" for name, value in headers])
        # what is said most often is of few lengths, so that many go out together (`transports.segmentation`)
        multiple_of = PADDING if status == 202 else 1
        self._flow.send(
            finish_response(self._copied, status, reason, extra, multiple_of=multiple_of), self._to
        )


def _destination(request: Request, flow: Flow) -> SocketAddress | None:
    if flow.transport == "udp" and asks_for_source(request.headers.first.get("Via", "")):
        return flow.peer
    try:
        return destination(request.answer_via, flow)
    except SipError:
        return None


def destination(via: Via, flow: Flow) -> SocketAddress:
    """Where a response goes on UDP, and on a connection that is gone by then (RFC 3261 §18.2.2)."""
    source = flow.peer
    host = source[0]
    if flow.transport == "udp":
        wants_source = False
        for name, value in via.params:
            if name == "rport":
                wants_source = True  # RFC 3581 §4
            elif name == "maddr" and value is not None and _is_safe_maddr(value.strip("[]"), source[0]):
                host = value.strip("[]")
        if wants_source and host == source[0]:
            return source
    return host, via.port or _DEFAULT_PORT[flow.transport]


def _is_safe_maddr(maddr: str, source: str) -> bool:
    """Whether the sender may have its answer sent elsewhere.

    Only to one other host that it could reach itself: a packet from outside must not make us talk to our own
    loopback or link, nor to a group. Names are not looked up: that would wait.
    """
    try:
        to, came_from = ip_address(maddr), ip_address(source)
    except ValueError:
        return False
    if to.is_multicast or to.is_unspecified or to.is_reserved or to.version != came_from.version:
        return False
    return came_from.is_loopback or not (to.is_loopback or to.is_link_local)


def _from_tag(request: Request) -> str:
    try:
        return request.from_tag or ""
    except SipError:
        return ""
