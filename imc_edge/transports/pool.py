"""All connections of a process: reused per destination, bounded in number, swept when idle or slow."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace

from imc_common.errors import ImcError
from imc_common.sip.framing import Framer
from imc_common.sip.limits import DEFAULT, Limits
from imc_common.sources import source_of
from imc_edge.flow import Hop, Receiver, SocketAddress, TransportUser
from imc_edge.identity.trusted_peers import TrustedPeers
from imc_edge.transports.connection import WRITE_LIMIT, Connection, ConnectionTimeouts
from imc_edge.transports.listener import HANDSHAKE_TIMEOUT
from imc_edge.transports.tls import Tls

CONNECT_TIMEOUT = 3.0
"""Seconds for opening a connection, without the TLS handshake."""
SWEEP_SECONDS = 1.0
RESERVED_SHARE = 8
"""An eighth of all connections is reserved for one direction, and for trusted peers."""


class TooManyConnectionsError(ImcError):
    """The process has as many connections as allowed; names the limit."""


class ConnectError(ImcError):
    """No connection could be made, or not in time; names the hop and the cause."""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Limits of connections, in all and per peer, and of the messages on them.

    A peer is a source as of `imc_common.sources`, or one address in `trusted`: a trusted peer sends for many
    users, so it may have more connections.
    """

    total: int = 4096
    per_peer: int = 64
    message: Limits = DEFAULT
    per_trusted_peer: int = 1024
    trusted: TrustedPeers | frozenset[str] = frozenset()

    @property
    def reserve(self) -> int:
        """Connections that peers leave for requests of ours, and the other way round; as many again are for
        trusted peers only."""
        return self.total // RESERVED_SHARE


class _Nobody:
    """The transport user of responses: one that cannot be sent is lost, and the request is retransmitted."""

    def transport_error(self, error: Exception) -> None:
        pass


_NOBODY = _Nobody()


class _Pending:
    """Requests that wait for their connection."""

    def __init__(self) -> None:
        self.waiting: list[tuple[bytes, TransportUser]] = []
        self.size = 0


class Pool:
    """Opens, finds, counts and sweeps connections."""

    def __init__(
        self,
        tls: Tls,
        *,
        source: Callable[[Hop], str],
        clock: Callable[[], float],
        bounds: PoolLimits,
        timeouts: ConnectionTimeouts,
    ) -> None:
        """``source`` names the address to connect to a hop from; ``clock`` is monotonic, in seconds."""
        self._tls = tls
        self._source = source
        self._receiver: Receiver | None = None
        self._clock = clock
        self._bounds = bounds
        self._timeouts = timeouts
        self._connections: set[Connection] = set()
        self._by_line: dict[tuple[str, str, int, str], Connection] = {}
        """By `Hop.line`, as is the next."""
        self._pending: dict[tuple[str, str, int, str], _Pending] = {}
        self._connecting: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.Task[None] | None = None
        self._all_lost: asyncio.Event | None = None
        self._incoming = 0
        self._outgoing = 0
        self._per_peer: dict[str, int] = {}
        """Incoming connections by source; of trusted peers, by address."""
        self.refused = 0
        """Incoming connections that exceeded a limit."""

    @property
    def count(self) -> int:
        """Connections in both directions, with those that are being made."""
        return self._incoming + self._outgoing

    def start(self, receiver: Receiver) -> None:
        """From now on ``receiver`` takes what comes in, on incoming and outgoing connections."""
        self._receiver = receiver
        self._sweeper = asyncio.ensure_future(self._sweep())

    # --- incoming

    def make_connection(self, transport: str) -> Connection:
        """A connection that reports here."""
        if self._receiver is None:
            raise RuntimeError("the pool was not started")
        framer = Framer(self._bounds.message)
        return Connection(transport, self, self._receiver, framer, clock=self._clock, timeouts=self._timeouts)

    def admit(self, host: str) -> str | None:
        """Count one more incoming connection of this address; returns the source that it is counted for.

        None, and not counted, if that is too many.
        """
        bounds = self._bounds
        count, reserve = self.count, bounds.reserve
        if host in bounds.trusted:
            source, limit = host, bounds.per_trusted_peer
            is_full = count >= bounds.total or self._incoming >= bounds.total - reserve
        else:
            source, limit = source_of(host), bounds.per_peer
            is_full = count >= bounds.total - 2 * reserve
        of_peer = self._per_peer.get(source, 0)
        # a connection costs as much as a message, and a TLS handshake much more, so it counts as one
        is_flood = self._receiver is not None and not self._receiver.admits(host)
        if is_full or of_peer >= limit or is_flood:
            self.refused += 1
            return None
        self._incoming += 1
        self._per_peer[source] = of_peer + 1
        return source

    def release(self, source: str) -> None:
        """A connection that was counted for this source is closed."""
        self._incoming -= 1
        left = self._per_peer[source] - 1
        if left:
            self._per_peer[source] = left
        else:
            del self._per_peer[source]

    def trust(self, trusted: TrustedPeers) -> None:
        """From now on these addresses may have more connections than others; open ones stay."""
        self._bounds = replace(self._bounds, trusted=trusted)

    # --- what connections report

    def opened(self, connection: Connection) -> None:
        """Keep it; one that a TCP peer opened is used for requests to that peer's address and port, too.

        Not for TLS: the peer of an incoming connection has not shown a certificate (RFC 5923 §5).
        """
        self._connections.add(connection)
        if connection.hop is None and connection.transport == "tcp":
            connection.hop = Hop("tcp", *connection.peer)
        if connection.hop is not None:
            known = self._by_line.get(connection.hop.line)
            if known is None or not known.is_open:
                self._by_line[connection.hop.line] = connection

    def lost(self, connection: Connection) -> None:
        """Forget it."""
        self._connections.discard(connection)
        if connection.hop is not None and self._by_line.get(connection.hop.line) is connection:
            del self._by_line[connection.hop.line]
        if self._all_lost is not None and not self._connections:
            self._all_lost.set()

    def respond_elsewhere(self, connection: Connection, data: bytes, to: SocketAddress) -> None:
        """RFC 3261 §18.2.2: the connection is closed, so open one to the Via's address and port."""
        self.send(Hop(connection.transport, to[0], to[1], to[0]), data, _NOBODY)

    # --- outgoing

    def send(self, hop: Hop, data: bytes, user: TransportUser) -> None:
        """Send a request on the hop's connection; it is opened now if there is none."""
        connection = self._by_line.get(hop.line)
        if connection is not None and connection.is_open:
            connection.send_request(data, user)
            return
        pending = self._pending.get(hop.line)
        if pending is None:
            bounds = self._bounds
            if self.count >= bounds.total or self._outgoing >= bounds.total - bounds.reserve:
                user.transport_error(TooManyConnectionsError(f"already {self.count} connections"))
                return
            pending = self._pending[hop.line] = _Pending()
            self._outgoing += 1
            task = asyncio.ensure_future(self._connect(hop, pending))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)
        if pending.size + len(data) > WRITE_LIMIT:
            user.transport_error(
                ConnectError(f"too many bytes wait for a connection to {hop.host}:{hop.port}")
            )
            return
        pending.size += len(data)
        pending.waiting.append((data, user))

    async def _connect(self, hop: Hop, pending: _Pending) -> None:
        connection = self.make_connection(hop.transport)
        connection.hop = hop
        connection.on_closed = self._outgoing_closed
        try:
            await self._open(hop, connection)
        except Exception as error:  # also ValueError: a domain that is no name for a certificate
            if not connection.was_made:
                self._outgoing -= 1
            cause = ConnectError(f"{hop.transport}:{hop.host}:{hop.port}: {error or type(error).__name__}")
            cause.__cause__ = error  # its user does not treat a refusal as a timeout
            for _, user in pending.waiting:
                user.transport_error(cause)
        else:
            for data, user in pending.waiting:
                if connection.is_open:
                    connection.send_request(data, user)
                else:
                    closed = ConnectError(f"{hop.transport}:{hop.host}:{hop.port}: closed at once")
                    user.transport_error(closed)
        finally:
            del self._pending[hop.line]

    async def _open(self, hop: Hop, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_INET6 if ":" in hop.host else socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            source = self._source(hop)
            if source:
                sock.bind((source, 0))
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await loop.sock_connect(sock, (hop.host, hop.port))
            if hop.transport == "tls":
                await loop.create_connection(
                    lambda: connection,
                    sock=sock,
                    ssl=self._tls.client,
                    server_hostname=hop.server_name or hop.host,
                    ssl_handshake_timeout=HANDSHAKE_TIMEOUT,
                )
            else:
                await loop.create_connection(lambda: connection, sock=sock)
        except BaseException:
            sock.close()
            raise

    def _outgoing_closed(self) -> None:
        self._outgoing -= 1

    # --- duties

    async def _sweep(self) -> None:
        """Once a second: close idle connections, abort slow ones."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            for connection in list(self._connections):
                connection.sweep()

    async def close(self) -> None:
        """Close every connection after what it still has to send; abort those that do not close soon."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for task in self._connecting:
            task.cancel()
        for connection in list(self._connections):
            connection.close()
        if self._connections:
            self._all_lost = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._timeouts.linger):
                    await self._all_lost.wait()
        for connection in list(self._connections):
            connection.abort()
