"""All transports of an edge: listens on what the settings name, sends to any hop."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_address

from imc_common.errors import ImcError
from imc_common.settings import Endpoint, Settings
from imc_common.sip.ports import DEFAULT_PORTS, SIP_PORT
from imc_edge.flow import Hop, Receiver, SocketAddress, TransportUser
from imc_edge.identity.trusted_peers import TrustedPeers
from imc_edge.transports.connection import ConnectionTimeouts
from imc_edge.transports.listener import StreamListener, bind_stream
from imc_edge.transports.pool import Pool, PoolLimits
from imc_edge.transports.tls import Tls
from imc_edge.transports.udp import UdpSocket, bind_udp

_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound to
MAX_KNOWN_ROUTES = 4096
"""Peers towards which our own address is remembered."""


class ListenError(ImcError):
    """A ``listen`` entry cannot be used; names it and the reason."""


class NoSocketError(ImcError):
    """No listening socket has this hop's transport and address family."""


class Network:
    """Sockets, connections, and our own addresses."""

    def __init__(
        self,
        listen: Sequence[Endpoint],
        *,
        advertise: str,
        tls: Tls,
        clock: Callable[[], float],
        bounds: PoolLimits,
        timeouts: ConnectionTimeouts,
        shared: bool = False,
    ) -> None:
        """Bind every endpoint; nothing is read before `start`. Raises `ListenError`.

        ``shared``: other processes bind the same ports. Then requests go out on a port of our own, because
        the kernel would hand responses on a shared one to any of the processes.
        """
        self._tls = tls
        self._advertise = advertise
        self.pool = Pool(tls, source=self._source, clock=clock, bounds=bounds, timeouts=timeouts)
        self._udp: list[UdpSocket] = []
        self._sending: dict[bool, UdpSocket] = {}  # True: for IPv6
        self._streams: list[StreamListener] = []
        self._sent_by: dict[tuple[str, str], str] = {}
        self._local: dict[tuple[str, str], SocketAddress] = {}
        try:
            for endpoint in listen:
                self._bind(endpoint, shared)
        except BaseException:
            self._close_sockets()
            raise

    def _bind(self, endpoint: Endpoint, shared: bool) -> None:
        transport, host, port = endpoint
        if transport == "tls" and self._tls.server is None:
            raise ListenError(f"listen {endpoint}: tls needs tls_certificate")
        try:
            if transport == "udp":
                udp = UdpSocket(bind_udp(host, port, shared=shared))
                self._udp.append(udp)
                ipv6 = udp.family == socket.AF_INET6
                if shared and ipv6 not in self._sending:
                    own = UdpSocket(bind_udp(host, 0))
                    self._udp.append(own)
                    self._sending[ipv6] = own
                self._sending.setdefault(ipv6, udp)
                return
            sock = bind_stream(host, port, shared=shared)
        except OSError as error:
            raise ListenError(f"listen {endpoint}: {error.strerror or error}") from error
        tls = self._tls if transport == "tls" else None
        self._streams.append(StreamListener(sock, transport, self.pool, tls))

    def reload(self, settings: Settings) -> None:
        """Go on with these settings."""
        self.pool.trust(TrustedPeers(settings.trusted_peers))

    @property
    def addresses(self) -> list[Endpoint]:
        """What is listened on, with the ports the kernel gave where 0 was asked for."""
        udp = [Endpoint("udp", *s.address) for s in self._udp]
        return udp + [Endpoint(s.transport, *s.address) for s in self._streams]

    def start(self, receiver: Receiver) -> None:
        """Begin to read and accept, in the running loop; ``receiver`` takes everything that comes in."""
        self.pool.start(receiver)
        for udp in self._udp:
            udp.start(receiver)
        for stream in self._streams:
            stream.start()

    def stop_accepting(self) -> None:
        """Accept no new connections; datagrams and open ones go on, so that what is in flight can end."""
        for listener in self._streams:
            listener.close()

    async def close(self) -> None:
        """Close connections, then sockets."""
        self.stop_accepting()
        await self.pool.close()
        self._close_sockets()

    def _close_sockets(self) -> None:
        for udp in self._udp:
            udp.close()
        for stream in self._streams:
            stream.close()

    # --- sending: imc_edge.flow.Transports

    def send(self, hop: Hop, data: bytes, user: TransportUser) -> None:
        """Send one request, together with what else goes there in this turn of the event loop."""
        if hop.transport != "udp":
            self.pool.send(hop, data, user)
            return
        udp = self._sending.get(":" in hop.host)
        if udp is None:
            user.transport_error(NoSocketError(f"no udp socket of the address family of {hop.host}"))
        else:
            udp.send(data, hop.address, user)

    def via(self, hop: Hop) -> str:
        """Protocol and sent-by (RFC 3261 §18.1.1): ``advertise``, or the listening socket's own address."""
        known = self._sent_by.get((hop.transport, hop.host))
        if known is None:
            protocol = f"SIP/2.0/{hop.transport.upper()}"
            try:
                known = f"{protocol} {self._sent_by_for(hop)}"
            except OSError:  # there is no route: `send` reports the error, unless there is one by then
                return f"{protocol} {'[::1]' if ':' in hop.host else '127.0.0.1'}"
            if len(self._sent_by) >= MAX_KNOWN_ROUTES:
                self._sent_by.clear()
            self._sent_by[hop.transport, hop.host] = known
        return known

    def local_address(self, hop: Hop) -> SocketAddress:
        """Our own IP address and port in exchanges with this hop."""
        known = self._local.get((hop.transport, hop.host))
        if known is None:
            try:
                host, port = self._listening(hop)
                known = (_source_address(hop) if host in _WILDCARDS else host, port)
            except OSError:
                return ("::" if ":" in hop.host else "0.0.0.0", 0)  # noqa: S104 # says that it is not known
            if len(self._local) >= MAX_KNOWN_ROUTES:
                self._local.clear()
            self._local[hop.transport, hop.host] = known
        return known

    def _sent_by_for(self, hop: Hop) -> str:
        host, port = self._listening(hop)
        if self._advertise:
            with_port = self._advertise.rpartition("]")[2].count(":") == 1
            return self._advertise if with_port else f"{self._advertise}:{port}"
        if host in _WILDCARDS:
            host = _source_address(hop)
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def _source(self, hop: Hop) -> str:
        """The address to connect to a hop from; empty for the kernel's choice.

        It is the one that is listened on, if there is only one: proxies may know an edge by its address.
        """
        ipv6 = ":" in hop.host
        listened = {each.address[0] for each in self._streams if (":" in each.address[0]) == ipv6}
        host = listened.pop() if len(listened) == 1 else ""
        if not host or host in _WILDCARDS:
            return ""
        # nothing outside of this machine can be reached from its loopback address
        return host if ip_address(host).is_loopback == ip_address(hop.host).is_loopback else ""

    def _listening(self, hop: Hop) -> SocketAddress:
        """Where responses arrive if this hop opens a new connection for them (RFC 3261 §18.2.2)."""
        ipv6 = ":" in hop.host
        if hop.transport == "udp":
            udp = self._sending.get(ipv6)
            if udp is not None:
                return udp.address
        for stream in self._streams:
            if stream.transport == hop.transport and (":" in stream.address[0]) == ipv6:
                return stream.address
        return _source_address(hop), DEFAULT_PORTS[hop.transport]


def _source_address(hop: Hop) -> str:
    """The source address that the kernel's routes use towards the hop; nothing is sent.

    Raises OSError: without a route, a file descriptor or the address family.
    """
    family = socket.AF_INET6 if ":" in hop.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((hop.host, hop.port or SIP_PORT))
        return str(probe.getsockname()[0])
