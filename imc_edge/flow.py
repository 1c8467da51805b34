"""The seam between the transports and what speaks SIP above them.

A *flow* is where a message came in, and where its responses go back (RFC 3261 §18.2.2, RFC 5626 §3.1); a
*hop* is where a request goes out. Nothing above this line knows sockets.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from imc_common.sip.errors import SipParseError
from imc_common.sip.message import Request, Response

SocketAddress = tuple[str, int]
"""IP address as text, and port."""


class Flow(Protocol):
    """Where a message came from."""

    @property
    def transport(self) -> str:
        """``udp``, ``tcp`` or ``tls``."""
        ...

    @property
    def peer(self) -> SocketAddress:
        """Source address and port of what came in: of the packet, never of its Via."""
        ...

    def send(self, data: bytes, to: SocketAddress | None = None) -> None:
        """Send one response back.

        On UDP it goes to ``to``, or to the peer. On a connection it goes back on this connection; only when
        that is gone, a new one to ``to`` is made (RFC 3261 §18.2.2). Never raises: a lost response is asked
        for again by a retransmission.
        """
        ...


@dataclass(frozen=True, slots=True)
class Hop:
    """One place to send a request to, after RFC 3263 has been followed to its end."""

    transport: str
    host: str
    """IP address as text."""
    port: int
    server_name: str = ""
    """The domain the URI named: what a TLS certificate has to be for (RFC 5922 §4)."""
    address: SocketAddress = field(init=False, repr=False, compare=False)
    """`host` and `port`, as sockets want them."""
    line: tuple[str, str, int, str] = field(init=False, repr=False, compare=False)
    """The same for hops that a connection can be shared by: on TCP nobody is asked for a certificate."""

    def __post_init__(self) -> None:
        name = "" if self.transport == "tcp" else self.server_name
        object.__setattr__(self, "address", (self.host, self.port))
        object.__setattr__(self, "line", (self.transport, self.host, self.port, name))


class Sender(Protocol):
    """Who sends a request."""

    def transport_error(self, error: Exception) -> None:
        """Called at most once, in `Transports.send` or later: the network refused the request, or its
        connection broke within a transaction's time. So it may come after the answer, and must not mind.
        """


class Transports(Protocol):
    """The sending side of all transports."""

    def send(self, hop: Hop, data: bytes, sender: Sender) -> None:
        """Send one request; ``sender`` hears of it when that fails."""
        ...

    def via(self, hop: Hop) -> str:
        """``SIP/2.0/UDP host:port``: protocol and sent-by for the Via of a request to this hop."""
        ...


class Receiver(Protocol):
    """What transports hand up to. Neither call raises."""

    def receive(self, data: bytes, flow: Flow) -> None:
        """Take a datagram that is no response."""
        ...

    def response(self, data: bytes) -> None:
        """Take a response, whole and as it came; where it came from does not matter (RFC 3261 §17.1.3)."""
        ...

    def take(self, message: Request | Response, flow: Flow) -> None:
        """Take a message that was framed on a connection."""
        ...

    def refuse(self, error: SipParseError, flow: Flow) -> None:
        """Answer what is no proper message, if it can be answered."""
        ...
