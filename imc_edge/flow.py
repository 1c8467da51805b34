"""The interface between the transports and the SIP layers above them.

A *flow* is where a message came in, and where its responses go back (RFC 3261 §18.2.2, RFC 5626 §3.1). A
*hop* is where a request goes out. Nothing above this interface knows sockets.
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
        """Source address and port of the packet that came in, whatever its Via says."""
        ...

    def send(self, data: bytes, to: SocketAddress | None = None) -> None:
        """Send one response back.

        On UDP it goes to ``to``, or to the peer. On a connection it goes back on this connection; only if
        that is closed, a new one to ``to`` is opened (RFC 3261 §18.2.2). Never raises: after a lost response
        the peer sends a retransmission.
        """
        ...


@dataclass(frozen=True, slots=True)
class Hop:
    """One place to send a request to: the result of RFC 3263."""

    transport: str
    host: str
    """IP address as text."""
    port: int
    server_name: str = ""
    """The domain of the URI, which the peer's TLS certificate has to name (RFC 5922 §4)."""
    address: SocketAddress = field(init=False, repr=False, compare=False)
    """`host` and `port`, as sockets want them."""
    line: tuple[str, str, int, str] = field(init=False, repr=False, compare=False)
    """The same for hops that can share a connection: without TLS the server name does not matter."""

    def __post_init__(self) -> None:
        name = "" if self.transport == "tcp" else self.server_name
        object.__setattr__(self, "address", (self.host, self.port))
        object.__setattr__(self, "line", (self.transport, self.host, self.port, name))


class TransportUser(Protocol):
    """Sends a request and hears of errors (the "transport user" of RFC 3261 §18.4)."""

    def transport_error(self, error: Exception) -> None:
        """The network refused the request, or its connection broke within a transaction's time.

        Called at most once, in `Transports.send` or later. So it may come after the response, and must do no
        harm then.
        """


class Transports(Protocol):
    """The sending side of all transports."""

    def send(self, hop: Hop, data: bytes, user: TransportUser) -> None:
        """Send one request; ``user`` hears of it when that fails."""
        ...

    def via(self, hop: Hop) -> str:
        """``SIP/2.0/UDP host:port``: protocol and sent-by for the Via of a request to this hop."""
        ...


class Receiver(Protocol):
    """What transports pass incoming messages to. No call raises."""

    def admits(self, host: str) -> bool:
        """Count a new connection of this address, or a message on one before it is parsed.

        False if its source sends too many. Then a new connection is not accepted. An open one is not read for
        a while, and the same message is offered again later.
        """
        ...

    def receive(self, data: bytes, flow: Flow) -> None:
        """Take a datagram that is not a response."""
        ...

    def response(self, data: bytes) -> None:
        """Take a response, whole and unparsed; where it came from does not matter (RFC 3261 §17.1.3)."""
        ...

    def take(self, message: Request | Response, flow: Flow) -> None:
        """Take a message that was framed on a connection."""
        ...

    def refuse(self, error: SipParseError, flow: Flow) -> None:
        """Respond to a malformed message, if it says enough for a response."""
        ...
