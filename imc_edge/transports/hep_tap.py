"""Sends a copy of every SIP message to Homer, if `hep_address` is set.

The tap wraps the transports and what is above them; without the setting it does not exist. A copy that cannot
be sent is counted and dropped: capturing never delays a message.
"""

from __future__ import annotations

import re
import socket
from collections import OrderedDict
from collections.abc import Callable

import structlog

from imc_common.errors import ImcError
from imc_common.metrics import Metrics
from imc_common.settings import Settings
from imc_common.settings.values import host_and_port
from imc_common.sip.errors import SipParseError
from imc_common.sip.message import Request, Response
from imc_edge.flow import Flow, Hop, Receiver, SocketAddress, Transports, TransportUser
from imc_edge.transports.hep import encode

MAX_HOPS = 20_000
"""Requests whose hop is remembered: it is the source of their responses."""

_CALL_ID = re.compile(rb"\r\n(?:call-id|i)[ \t]*:[ \t]*([^\r\n]{1,256})", re.IGNORECASE).search
_BRANCH = re.compile(rb";[ \t]*branch=([^;,\s]{1,128})", re.IGNORECASE).search

log = structlog.get_logger()


class HepError(ImcError):
    """`hep_address` cannot be resolved."""


class HepTap:
    """Sends the copies."""

    def __init__(
        self,
        settings: Settings,
        local: Callable[[Hop], SocketAddress],
        wall: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        """Resolve `hep_address`. Raises `HepError`.

        ``local(hop)`` is our own address towards a peer, ``wall()`` seconds since the epoch.
        """
        host, port = host_and_port(settings.hep_address)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        except OSError as error:
            raise HepError(f"hep_address {settings.hep_address}: {error.strerror}") from error
        self._socket = socket.socket(found[0][0], socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.connect(found[0][4])
        self._capture_id, self._key = settings.hep_capture_id, settings.hep_auth_key
        self._local = local
        self._wall = wall
        self._hops: OrderedDict[bytes, Hop] = OrderedDict()
        self._sent = metrics.counter("imc_hep_packets", "Copies of SIP messages sent to Homer.")
        self._lost = metrics.counter("imc_hep_lost", "Copies that could not be sent.")

    def close(self) -> None:
        """Send no more."""
        self._socket.close()

    def incoming(self, data: bytes, transport: str, peer: SocketAddress) -> None:
        """Copy a message that came in."""
        hop = Hop(transport, *peer)
        self._send(data, hop, peer, self._local(hop))

    def outgoing(self, data: bytes, transport: str, peer: SocketAddress) -> None:
        """Copy a message that goes out."""
        hop = Hop(transport, *peer)
        self._send(data, hop, self._local(hop), peer)

    def outgoing_request(self, data: bytes, hop: Hop) -> None:
        """Copy a request that goes out, and remember its hop for its responses."""
        branch = _BRANCH(data)
        if branch is not None:
            self._hops[branch[1]] = hop
            if len(self._hops) > MAX_HOPS:
                self._hops.popitem(last=False)
        self.outgoing(data, hop.transport, (hop.host, hop.port))

    def incoming_response(self, data: bytes) -> None:
        """Copy a response to a request of ours; its source is assumed to be where the request went."""
        branch = _BRANCH(data)
        hop = self._hops.get(branch[1]) if branch is not None else None
        if hop is not None:
            self.incoming(data, hop.transport, (hop.host, hop.port))

    def _send(self, data: bytes, hop: Hop, source: SocketAddress, target: SocketAddress) -> None:
        call_id = _CALL_ID(data)
        try:
            packet = encode(
                data,
                source=source,
                target=target,
                reliable=hop.transport != "udp",
                at=self._wall(),
                capture_id=self._capture_id,
                auth_key=self._key,
                call_id=call_id[1].decode("utf-8", "surrogateescape").strip() if call_id else "",
            )
            self._socket.send(packet)
        except (OSError, ValueError):
            self._lost.value += 1
        else:
            self._sent.value += 1


class TappedFlow:
    """A flow whose responses are copied."""

    def __init__(self, flow: Flow, tap: HepTap) -> None:
        self._flow = flow
        self._tap = tap

    @property
    def transport(self) -> str:
        """The flow's."""
        return self._flow.transport

    @property
    def peer(self) -> SocketAddress:
        """The flow's."""
        return self._flow.peer

    def send(self, data: bytes, to: SocketAddress | None = None) -> None:
        """Copy and send."""
        self._tap.outgoing(data, self._flow.transport, to or self._flow.peer)
        self._flow.send(data, to)


class TappedReceiver:
    """Copies what comes in, then passes it on."""

    def __init__(self, receiver: Receiver, tap: HepTap) -> None:
        self._receiver = receiver
        self._tap = tap

    def admits(self, host: str) -> bool:
        """The receiver's."""
        return self._receiver.admits(host)

    def receive(self, data: bytes, flow: Flow) -> None:
        """A datagram that is not a response."""
        self._tap.incoming(data, flow.transport, flow.peer)
        self._receiver.receive(data, TappedFlow(flow, self._tap))

    def response(self, data: bytes) -> None:
        """A response."""
        self._tap.incoming_response(data)
        self._receiver.response(data)

    def take(self, message: Request | Response, flow: Flow) -> None:
        """A message that a connection framed."""
        self._tap.incoming(message.to_bytes(), flow.transport, flow.peer)
        self._receiver.take(message, TappedFlow(flow, self._tap))

    def refuse(self, error: SipParseError, flow: Flow) -> None:
        """A message that could not be parsed is not copied; the response to it is."""
        self._receiver.refuse(error, TappedFlow(flow, self._tap))


class TappedTransports:
    """Copies requests, then sends them."""

    def __init__(self, transports: Transports, tap: HepTap) -> None:
        self._transports = transports
        self._tap = tap

    def send(self, hop: Hop, data: bytes, user: TransportUser) -> None:
        """Copy and send."""
        self._tap.outgoing_request(data, hop)
        self._transports.send(hop, data, user)

    def via(self, hop: Hop) -> str:
        """The transports'."""
        return self._transports.via(hop)
