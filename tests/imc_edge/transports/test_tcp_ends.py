"""How connections end: what came in gets its response on them first (RFC 3261 §18.2.2)."""

from __future__ import annotations

import asyncio

import pytest

from imc_edge.flow import Hop
from imc_edge.transports.connection import ConnectionTimeouts
from tests.imc_edge.sockets import MESSAGE, Errors, Inbox, listening, until
from tests.patience import PATIENCE

RESPONSE = b"SIP/2.0 202 Accepted\r\nContent-Length: 0\r\n\r\n"
REFUSAL = b"SIP/2.0 400 Bad Request\r\n\r\n"
"""What the tests' receiver sends for a fault."""


@pytest.mark.parametrize("bad", [b"", b"\0garbage", b"MESSAGE a SIP/2.0\r\n\r\n" + MESSAGE])
async def test_good_requests_before_the_end_get_their_responses_on_the_connection(bad: bytes) -> None:
    """Before a half-close, and before a byte that ends the framing. They take a while, as with Redis."""
    inbox, elsewhere = Inbox(), Inbox()
    async with listening(inbox, "tcp:127.0.0.1:0") as edge, listening(elsewhere, "tcp:127.0.0.1:0") as far:
        reader, writer = await asyncio.open_connection(*edge.addresses[0][1:])
        writer.write(MESSAGE * 2 + bad)
        if not bad:
            writer.write_eof()
        await inbox.wait_for(2)
        (connection,) = edge.pool._connections
        await until(lambda: not connection.is_open)
        for flow in inbox.flows:
            flow.send(RESPONSE, far.addresses[0][1:])
        refusal = REFUSAL if bad else b""
        assert await asyncio.wait_for(reader.read(), PATIENCE) == refusal + RESPONSE * 2
        writer.close()
        await until(lambda: not edge.pool._connections)
        assert len(inbox.got) == 2
        assert elsewhere.got == []


async def test_a_request_without_a_response_keeps_a_half_closed_connection_for_timer_f_only() -> None:
    """Its client has given up by then."""
    inbox, now = Inbox(), [1000.0]
    async with listening(inbox, "tcp:127.0.0.1:0", clock=lambda: now[0]) as edge:
        reader, writer = await asyncio.open_connection(*edge.addresses[0][1:])
        writer.write(MESSAGE)
        writer.write_eof()
        await inbox.wait_for(1)
        (connection,) = edge.pool._connections
        await until(lambda: not connection.is_open)
        now[0] += 31
        connection.sweep()
        assert connection._ended_at is None
        now[0] += 2
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
        writer.close()


async def test_a_peer_that_has_closed_both_sides_gets_its_response_at_the_address_in_via() -> None:
    """RFC 3261 §18.2.2. Its half-close looks the same, so the open connection is tried first."""
    inbox, far_inbox = Inbox(), Inbox()
    timeouts = ConnectionTimeouts(linger=0.1)
    async with (
        listening(inbox, "tcp:127.0.0.1:0", timeouts=timeouts) as edge,
        listening(far_inbox, "tcp:127.0.0.1:0") as far,
    ):
        _, writer = await asyncio.open_connection(*edge.addresses[0][1:])
        writer.write(MESSAGE)
        await inbox.wait_for(1)
        writer.close()
        (connection,) = edge.pool._connections
        await until(lambda: not connection.is_open)
        inbox.flows[0].send(RESPONSE, far.addresses[0][1:])
        await far_inbox.wait_for(1)
        assert far_inbox.got == [RESPONSE]


async def test_requests_on_a_half_closed_connection_are_told_and_later_ones_get_another() -> None:
    """No response can come on it any more."""
    inbox, far_inbox, errors = Inbox(), Inbox(), Errors()
    async with listening(inbox, "tcp:127.0.0.1:0") as edge, listening(far_inbox, "udp:127.0.0.1:0"):
        server: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        listener = await asyncio.start_server(lambda *pair: server.put_nowait(pair), "127.0.0.1", 0)
        hop = Hop("tcp", *listener.sockets[0].getsockname())
        edge.send(hop, b"MESSAGE 1", errors)
        _, writer = await server.get()
        writer.write(MESSAGE)
        writer.write_eof()
        await inbox.wait_for(1)
        await until(lambda: len(errors.got) == 1)
        for number in (2, 3):
            edge.send(hop, b"MESSAGE %d" % number, errors)
        reader, other = await server.get()
        await asyncio.wait_for(reader.readexactly(2 * len(b"MESSAGE 1")), PATIENCE)
        edge.send(hop, b"MESSAGE 4", errors)
        assert await asyncio.wait_for(reader.readexactly(9), PATIENCE) == b"MESSAGE 4"
        inbox.flows[0].send(RESPONSE)
        writer.close()
        other.close()
        listener.close()


async def test_a_request_that_never_gets_a_response_does_not_keep_an_idle_connection() -> None:
    """As one whose Via cannot be read: it would hold one of the peer's connections for ever."""
    inbox, now = Inbox(), [1000.0]
    async with listening(inbox, "tcp:127.0.0.1:0", clock=lambda: now[0]) as edge:
        reader, writer = await asyncio.open_connection(*edge.addresses[0][1:])
        writer.write(MESSAGE)
        await inbox.wait_for(1)
        now[0] += 121
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
        writer.close()
