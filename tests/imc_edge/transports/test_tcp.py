"""TCP connections: framing, reuse, limits (RFC 3261 §18, RFC 5626 §4.4.1).

Covers connection.py, listener.py, pool.py and, with test_udp.py and test_via.py, network.py.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from imc_common.settings import Settings
from imc_edge.flow import Hop
from imc_edge.identity.trusted_peers import TrustedPeers
from imc_edge.transports.connection import WRITE_LIMIT, ConnectionTimeouts
from imc_edge.transports.network import Network
from imc_edge.transports.pending_requests import MAX_PENDING_REQUESTS
from imc_edge.transports.pool import PoolLimits
from tests.imc_edge.sockets import MESSAGE, Errors, Inbox, listening, network, until
from tests.patience import PATIENCE

RESPONSE = b"SIP/2.0 202 Accepted\r\nContent-Length: 0\r\n\r\n"


async def connect(edge: Network) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client's connection to the first endpoint."""
    return await asyncio.open_connection(edge.addresses[0].host, edge.addresses[0].port)


async def read_end(reader: asyncio.StreamReader, seconds: float = PATIENCE) -> bytes:
    """All that still comes until the edge closes, by whatever means."""
    try:
        return await asyncio.wait_for(reader.read(), seconds)
    except ConnectionError:
        return b""


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_messages_are_framed_however_the_stream_is_split(host: str) -> None:
    """RFC 3261 §18.3: by Content-Length."""
    inbox = Inbox(response=RESPONSE)
    async with listening(inbox, f"tcp:{host}:0") as edge:
        reader, writer = await connect(edge)
        stream = MESSAGE + b"\r\n" + MESSAGE + MESSAGE
        for start in range(0, len(stream), 7):
            writer.write(stream[start : start + 7])
            await asyncio.sleep(0)
        assert await reader.readexactly(3 * len(RESPONSE)) == RESPONSE * 3
        assert inbox.got == [MESSAGE] * 3
        assert inbox.flows[0].transport == "tcp"
        assert inbox.flows[0].peer == writer.get_extra_info("sockname")[:2]
        writer.close()


async def test_a_ping_gets_a_pong() -> None:
    """RFC 5626 §4.4.1: double CRLF, single CRLF back."""
    async with listening(Inbox(), "tcp:127.0.0.1:0") as edge:
        reader, writer = await connect(edge)
        writer.write(b"\r\n\r\n")
        assert await asyncio.wait_for(reader.readexactly(2), PATIENCE) == b"\r\n"
        writer.close()


async def test_pings_without_end_whose_pongs_are_not_read_end_the_connection() -> None:
    """Memory stays constant."""
    async with listening(Inbox(), "tcp:127.0.0.1:0") as edge:
        _, writer = await connect(edge)
        writer.write(b"\r\n\r\n" * 200_000 + MESSAGE)
        await writer.drain()
        (connection,) = edge.pool._connections
        assert connection._gathered_size <= WRITE_LIMIT
        writer.close()


@pytest.mark.parametrize(
    "length", [b"-1", b"+10", b"1_0", b"\xef\xbc\x91\xef\xbc\x90", b"4000000000", b"9" * 5000, b"2, 2"]
)
async def test_an_ambiguous_content_length_is_refused_and_the_connection_closed(length: bytes) -> None:
    """RFC 3261 §18.3: it is not known where the next message begins."""
    inbox = Inbox()
    async with listening(inbox, "tcp:127.0.0.1:0") as edge:
        reader, writer = await connect(edge)
        writer.write(MESSAGE.replace(b"Length: 2", b"Length: " + length))
        assert (await read_end(reader)).startswith(b"SIP/2.0 400")
        assert inbox.got == []
        assert len(inbox.refused) == 1
        writer.close()


async def test_a_missing_content_length_is_refused_and_the_connection_closed() -> None:
    """RFC 3261 §20.14: it is mandatory on streams."""
    inbox = Inbox()
    async with listening(inbox, "tcp:127.0.0.1:0") as edge:
        reader, writer = await connect(edge)
        writer.write(b"MESSAGE sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP a\r\n\r\n")
        assert (await read_end(reader)).startswith(b"SIP/2.0 400")
        writer.close()


async def test_bytes_that_are_not_sip_close_the_connection() -> None:
    """From the first byte on; nothing is kept of them."""
    async with listening(Inbox(), "tcp:127.0.0.1:0") as edge:
        reader, writer = await connect(edge)
        writer.write(b"\x16\x03\x01\x02\x00\x01")
        assert (await read_end(reader)).startswith(b"SIP/2.0 400")
        writer.close()
        await until(lambda: not edge.pool._connections)


@pytest.mark.parametrize("sent", [b"MESSAGE sip:a", MESSAGE[:-1]])
async def test_a_message_that_is_not_complete_in_time_ends_the_connection(sent: bytes) -> None:
    """Slow headers and slow bodies."""
    async with listening(Inbox(), "tcp:127.0.0.1:0", timeouts=ConnectionTimeouts(message=0.1)) as edge:
        reader, writer = await connect(edge)
        writer.write(sent)
        assert await read_end(reader) == b""
        writer.close()


async def test_the_time_limit_for_a_message_starts_anew_with_each() -> None:
    """Several messages may take longer together."""
    inbox, now = Inbox(), [1000.0]
    async with listening(
        inbox, "tcp:127.0.0.1:0", timeouts=ConnectionTimeouts(message=10), clock=lambda: now[0]
    ) as edge:
        _, writer = await connect(edge)
        for number in range(1, 6):
            writer.write(MESSAGE[10:] + MESSAGE[:10] if inbox.got else MESSAGE + MESSAGE[:10])
            await inbox.wait_for(number)
            now[0] += 6
            (connection,) = edge.pool._connections
            connection.sweep()
        assert connection.is_open
        writer.close()


async def test_an_idle_connection_is_closed() -> None:
    """120 s by default."""
    async with listening(Inbox(), "tcp:127.0.0.1:0", timeouts=ConnectionTimeouts(idle=0.1)) as edge:
        reader, writer = await connect(edge)
        assert await read_end(reader) == b""
        writer.close()


async def test_the_connection_of_a_peer_that_does_not_read_is_aborted() -> None:
    """After a write limit of 256 KB beyond the kernel's buffers; others are not delayed."""
    big = b"SIP/2.0 200 OK\r\nX: " + b"x" * 60_000 + b"\r\n\r\n"
    async with listening(Inbox(response=big), "tcp:127.0.0.1:0") as edge:
        _, stuck = await connect(edge)
        stuck.write(MESSAGE * 500)
        await until(lambda: not edge.pool._connections)
        reader, writer = await connect(edge)
        writer.write(MESSAGE)
        assert len(await reader.readexactly(len(big))) == len(big)
        for each in (stuck, writer):
            each.close()


async def test_the_connection_of_a_peer_that_reads_too_slowly_is_aborted() -> None:
    """Less than the write limit waits, but for too long."""
    big = b"SIP/2.0 200 OK\r\nX: " + b"x" * 60_000 + b"\r\n\r\n"
    inbox, now = Inbox(response=big), [1000.0]
    async with listening(
        inbox, "tcp:127.0.0.1:0", timeouts=ConnectionTimeouts(stuck=5), clock=lambda: now[0]
    ) as edge:
        with socket.socket() as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.setblocking(False)
            await asyncio.get_running_loop().sock_connect(peer, edge.addresses[0][1:])
            await until(lambda: len(edge.pool._connections) == 1)
            (connection,) = edge.pool._connections
            wire = connection._wire
            assert wire is not None
            while wire.get_write_buffer_size() < 50_000:
                await asyncio.get_running_loop().sock_sendall(peer, MESSAGE)
                await asyncio.sleep(0.002)
            now[0] += 6
            await until(lambda: not edge.pool._connections)


async def test_connections_of_one_address_are_limited_and_others_served() -> None:
    """Closed ones do not count."""
    async with listening(Inbox(RESPONSE), "tcp:127.0.0.1:0", bounds=PoolLimits(100, 2)) as edge:
        where = edge.addresses[0]
        writers = [(await connect(edge))[1] for _ in range(2)]
        await until(lambda: len(edge.pool._connections) == 2)
        reader, extra = await connect(edge)
        assert await read_end(reader) == b""
        assert edge.pool.refused == 1
        other_reader, other = await asyncio.open_connection(*where[1:], local_addr=("127.0.0.2", 0))
        other.write(MESSAGE)
        assert await other_reader.readexactly(len(RESPONSE)) == RESPONSE
        writers[0].close()
        await until(lambda: len(edge.pool._connections) == 2)
        again_reader, again = await connect(edge)
        again.write(MESSAGE)
        assert await again_reader.readexactly(len(RESPONSE)) == RESPONSE
        for writer in (*writers, extra, other, again):
            writer.close()


async def test_a_trusted_peer_may_have_more_connections() -> None:
    """A balancer sends for many users; a reload changes who is trusted."""
    async with listening(
        Inbox(RESPONSE), "tcp:127.0.0.1:0", bounds=PoolLimits(100, 1, per_trusted_peer=3)
    ) as edge:
        edge.reload(Settings(trusted_peers=("127.0.0.1/32",)))
        writers = [(await connect(edge))[1] for _ in range(3)]
        await until(lambda: len(edge.pool._connections) == 3)
        reader, extra = await connect(edge)
        assert await read_end(reader) == b""
        edge.reload(Settings(trusted_peers=("192.0.2.1/32",)))
        assert edge.pool.admit("127.0.0.1") is None
        assert edge.pool.admit("192.0.2.1") == "192.0.2.1"
        edge.pool.release("192.0.2.1")
        for writer in (*writers, extra):
            writer.close()


async def test_the_addresses_of_one_ipv6_network_are_one_peer() -> None:
    """One host may own a /64; a trusted peer counts by address."""
    trusted = frozenset({"2001:db8::99"})
    edge = network("udp:127.0.0.1:0", bounds=PoolLimits(1000, 3, per_trusted_peer=5, trusted=trusted))
    pool = edge.pool
    admitted = [source for number in range(1, 60) if (source := pool.admit(f"2001:db8::{number}"))]
    assert admitted == ["2001:db8::/64"] * 3
    assert pool.admit("2001:db8:0:1::1") == "2001:db8:0:1::/64"
    assert [pool.admit("2001:db8::99") for _ in range(6)] == ["2001:db8::99"] * 5 + [None]
    pool.trust(TrustedPeers(()))
    for source in (*admitted, "2001:db8:0:1::/64", *["2001:db8::99"] * 5):
        pool.release(source)
    assert (pool.count, pool._per_peer) == (0, {})
    await edge.close()


async def test_connections_are_reserved_for_trusted_peers_and_for_requests_of_ours() -> None:
    """Many sources together cannot take them, nor can one direction take all."""
    edge = network("udp:127.0.0.1:0", bounds=PoolLimits(80, 1, per_trusted_peer=80, trusted=frozenset({"a"})))
    edge.start(Inbox())
    pool = edge.pool
    strangers = [pool.admit(f"192.0.2.{number}") for number in range(100)]
    assert sum(source is not None for source in strangers) == 60
    assert sum(pool.admit("a") is not None for _ in range(100)) == 10
    errors = Errors()
    for port in range(1, 12):
        edge.send(Hop("tcp", "127.0.0.1", port), MESSAGE, errors)
    assert [str(error) for error in errors.got] == ["already 80 connections"]
    await edge.close()


async def test_the_total_number_of_connections_is_limited() -> None:
    """Incoming and outgoing together."""
    async with listening(Inbox(), "tcp:127.0.0.1:0", bounds=PoolLimits(1, 5)) as edge:
        _, writer = await connect(edge)
        await until(lambda: len(edge.pool._connections) == 1)
        reader, extra = await connect(edge)
        assert await read_end(reader) == b""
        errors = Errors()
        edge.send(Hop("tcp", "127.0.0.1", 9), MESSAGE, errors)
        assert "already 1 connections" in str(errors.got[0])
        writer.close()
        extra.close()


async def test_requests_to_one_hop_share_a_connection_whatever_the_domain() -> None:
    """RFC 3261 §18.1.1: reuse; on TCP the name behind the address does not matter."""
    inbox = Inbox()
    async with listening(inbox, "tcp:127.0.0.1:0") as far, listening(Inbox(), "udp:127.0.0.1:0") as near:
        _, host, port = far.addresses[0]
        errors = Errors()
        for number in range(10):
            near.send(Hop("tcp", host, port, f"{number}.example.org"), MESSAGE, errors)
        await inbox.wait_for(10)
        near.send(Hop("tcp", host, port), MESSAGE, errors)
        await inbox.wait_for(11)
        assert len({flow.peer for flow in inbox.flows}) == 1
        assert errors.got == []


async def test_a_request_goes_out_on_a_connection_that_its_target_opened() -> None:
    """A user behind NAT can be reached in no other way."""
    async with listening(Inbox(), "tcp:127.0.0.1:0") as edge:
        reader, writer = await connect(edge)
        await until(lambda: len(edge.pool._connections) == 1)
        host, port = writer.get_extra_info("sockname")[:2]
        edge.send(Hop("tcp", host, port), MESSAGE, Errors())
        assert await asyncio.wait_for(reader.readexactly(len(MESSAGE)), PATIENCE) == MESSAGE
        writer.close()


@pytest.mark.parametrize(
    ("listen", "source"),
    [
        (["tcp:127.0.0.9:0"], "127.0.0.9"),
        (["tcp:0.0.0.0:0"], "127.0.0.1"),
        (["tcp:127.0.0.9:0", "tcp:127.0.0.8:0"], "127.0.0.1"),
        (["tcp:[::1]:0"], "127.0.0.1"),
        (["udp:127.0.0.9:0"], "127.0.0.1"),
    ],
)
async def test_an_edge_connects_from_the_address_that_it_listens_on(listen: list[str], source: str) -> None:
    """If it is the only one: a proxy may know edges by their addresses."""
    inbox = Inbox()
    async with listening(inbox, "tcp:127.0.0.1:0") as proxy, listening(Inbox(), *listen) as edge:
        edge.send(Hop("tcp", "127.0.0.1", proxy.addresses[0].port), MESSAGE, Errors())
        await until(lambda: bool(inbox.got))
        assert inbox.flows[0].peer[0] == source


async def test_nothing_is_bound_to_an_address_that_cannot_reach_the_hop() -> None:
    """From a loopback address nothing outside of the machine is reached."""
    edge = network("tcp:127.0.0.1:0")
    assert edge._source(Hop("tcp", "192.0.2.1", 5060)) == ""
    await edge.close()


async def test_a_refused_connection_is_reported_to_every_request_that_waited_for_it() -> None:
    """RFC 3261 §18.4: so that the next target is tried."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        async with listening(Inbox(), "udp:127.0.0.1:0") as edge:
            errors = Errors()
            for _ in range(3):
                edge.send(Hop("tcp", *closed.getsockname()), MESSAGE, errors)
            await until(lambda: len(errors.got) == 3)
            assert "tcp:127.0.0.1" in str(errors.got[0])
            assert edge.pool.count == 0


async def test_a_broken_connection_is_reported_to_requests_without_a_response() -> None:
    """RFC 3261 §18.4; a request after that opens a new one."""
    inbox = Inbox()
    async with listening(inbox, "tcp:127.0.0.1:0") as far, listening(Inbox(), "udp:127.0.0.1:0") as near:
        errors = Errors()
        hop = Hop("tcp", *far.addresses[0][1:])
        near.send(hop, MESSAGE, errors)
        await inbox.wait_for(1)
        for connection in list(far.pool._connections):
            connection.abort()
        await until(lambda: len(errors.got) == 1)
        near.send(hop, MESSAGE, errors)
        await inbox.wait_for(2)
        assert len(errors.got) == 1


async def test_a_connection_closed_at_once_is_reported_to_the_requests_that_waited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """None of them went out on it."""
    loop = asyncio.get_running_loop()
    opening = loop.create_connection

    async def close_at_once(*args: Any, **kwargs: Any) -> Any:
        wire, connection = await opening(*args, **kwargs)
        connection.abort()
        return wire, connection

    monkeypatch.setattr(loop, "create_connection", close_at_once)
    async with listening(Inbox(), "tcp:127.0.0.1:0") as far, listening(Inbox(), "udp:127.0.0.1:0") as near:
        errors = Errors()
        for _ in range(2):
            near.send(Hop("tcp", *far.addresses[0][1:]), MESSAGE, errors)
        await until(lambda: len(errors.got) == 2)
        assert "closed at once" in str(errors.got[0])


async def test_a_broken_connection_is_reported_to_the_latest_of_very_many_requests() -> None:
    """Written and gathered ones; the others have their transaction's timer, and memory is bounded."""
    async with listening(Inbox(), "tcp:127.0.0.1:0") as far, listening(Inbox(), "udp:127.0.0.1:0") as near:
        errors = [Errors() for _ in range(3 * MAX_PENDING_REQUESTS // 2 + 1)]
        hop = Hop("tcp", *far.addresses[0][1:])
        near.send(hop, b"x", errors[0])
        await until(lambda: len(near.pool._connections) == 1)
        await until(lambda: len(far.pool._connections) == 1)  # until then, requests wait elsewhere
        (connection,) = near.pool._connections
        for number, each in enumerate(errors[1:]):
            near.send(hop, b"x", each)
            if number % 512 == 511:
                connection._flush()
        connection.abort()
        await until(lambda: not near.pool._connections)
        told = [number for number, each in enumerate(errors) if each.got]
        assert told == list(range(len(errors) - len(told), len(errors)))
        assert MAX_PENDING_REQUESTS - 512 <= len(told) <= MAX_PENDING_REQUESTS


async def test_requests_of_one_turn_of_the_loop_go_out_in_one_write() -> None:
    """However many."""
    async with listening(Inbox(RESPONSE), "tcp:127.0.0.1:0") as edge:
        reader, writer = await connect(edge)
        await until(lambda: len(edge.pool._connections) == 1)
        (connection,) = edge.pool._connections
        written: list[bytes] = []
        wire = connection._wire
        assert wire is not None

        class Spy:
            def __getattr__(self, name: str) -> object:
                return getattr(wire, name)

            def write(self, data: bytes) -> None:
                written.append(data)
                wire.write(data)

        connection._wire = Spy()  # type: ignore[assignment]
        writer.write(MESSAGE * 20)
        assert await reader.readexactly(20 * len(RESPONSE)) == RESPONSE * 20
        assert written == [RESPONSE * 20]
        writer.close()
