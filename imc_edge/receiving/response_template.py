"""The response to one request, all but its status; and where it goes.

Nothing is kept between a request and its retransmission. The To tag is a keyed hash of what the two have in
common, so every edge that knows the key sends the same response (RFC 3261 §8.2.7).
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final

from imc_common.sip.errors import SipError
from imc_common.sip.message import Request
from imc_common.sip.ports import DEFAULT_PORTS
from imc_common.sip.response import asks_for_source, copied_headers, finish_response
from imc_common.sip.via import Via
from imc_edge.flow import Flow, SocketAddress

PADDING: Final = 32
"""A 202's length is a multiple of so many bytes."""
MAX_AMPLIFICATION: Final = 3
"""Over UDP the source address may be forged: to an untrusted one, a response has at most so many times the
bytes of its request."""


class ResponseTemplate:
    """All of a request that has to be kept until its response is sent."""

    __slots__ = ("_copied", "_flow", "_max_size", "_to", "tag")

    def __init__(self, request: Request, flow: Flow, tag: str, *, is_trusted: bool) -> None:
        """``tag`` is our To tag; ``is_trusted``: whether the peer is one of `trusted_peers`.

        If the top Via cannot be read, `send` does nothing: there is no address.
        """
        self.tag = tag
        self._flow = flow
        self._max_size = 0 if is_trusted or flow.transport != "udp" else MAX_AMPLIFICATION * request.size
        asks = asks_for_source(request.headers.first.get("Via", ""))
        self._copied = copied_headers(request, tag, flow.peer, asks)
        if asks and flow.transport == "udp":
            self._to: SocketAddress | None = flow.peer
        else:
            self._to = _address_of(request, flow, is_trusted)

    def send(self, status: int, reason: str | None = None, headers: Sequence[tuple[str, str]] = ()) -> None:
        """Send the response without a body (RFC 3261 §8.2.6), unless it would be too long for its request."""
        if self._to is None:
            return
        data = self._build(status, reason, headers)
        if self._max_size:
            # of several challenges the last ones are left out: the client uses the first that it knows
            while len(data) > self._max_size and status == 401 and len(headers) > 1:
                headers = headers[:-1]
                data = self._build(status, reason, headers)
            if len(data) > self._max_size:
                return
        self._flow.send(data, self._to)

    def _build(self, status: int, reason: str | None, headers: Sequence[tuple[str, str]]) -> bytes:
        extra = "".join([f"{name}: {value}\r\n" for name, value in headers])
        # the most frequent response has few different lengths: many go out together
        # (`transports.segmentation`)
        multiple_of = PADDING if status == 202 else 1
        return finish_response(self._copied, status, reason, extra, multiple_of=multiple_of)


def _address_of(request: Request, flow: Flow, is_trusted: bool) -> SocketAddress | None:
    try:
        return response_address(request.response_via, flow, may_redirect=is_trusted)
    except SipError:
        return None


def response_address(via: Via, flow: Flow, *, may_redirect: bool) -> SocketAddress:
    """Where a response goes on UDP, and on a connection that is gone by then (RFC 3261 §18.2.2).

    ``may_redirect``: whether `maddr` counts. From an untrusted peer it does not, or a forged packet could
    make us send to any address.
    """
    source = flow.peer
    host = source[0]
    if flow.transport == "udp":
        wants_source = False
        for name, value in via.params:
            if name == "rport":
                wants_source = True  # RFC 3581 §4: to the address and port that the request came from
            elif (
                may_redirect
                and name == "maddr"
                and value is not None
                and _is_safe_maddr(value.strip("[]"), source[0])
            ):
                host = value.strip("[]")
        if wants_source and host == source[0]:
            return source
    return host, via.port or DEFAULT_PORTS[flow.transport]


def _is_safe_maddr(maddr: str, source: str) -> bool:
    """Whether the sender may direct its response to this address.

    It has to be one other host that the sender could reach itself. A packet from outside must not make us
    send to our own loopback or link, nor to a group. A host name is not resolved: that would wait.
    """
    try:
        to, came_from = ip_address(maddr), ip_address(source)
    except ValueError:
        return False
    if to.is_multicast or to.is_unspecified or to.is_reserved or to.version != came_from.version:
        return False
    return came_from.is_loopback or not (to.is_loopback or to.is_link_local)
