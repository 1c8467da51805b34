"""A peer that sends faster than messages can be parsed: it is read slowly, then disconnected.

Covers inbound.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from imc_common.sip import SipParseError
from imc_edge.flow import Flow, Hop
from imc_edge.transports import pool
from imc_edge.transports.connection import Connection
from imc_edge.transports.inbound import MAX_SLOWED, MAX_TOGETHER, PER_TURN, RESPONSES_PER_REQUEST
from imc_edge.transports.network import Network
from tests.imc_edge.sockets import MESSAGE, Errors, Inbox, listening, until
from tests.patience import PATIENCE

ACK = b"ACK a SIP/2.0\r\nl:0\r\n\r\n"
OK = b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"
BUSY = b"SIP/2.0 486 Busy Here\r\nl:0\r\n\r\n"
FAULTY = b"MESSAGE a SIP/2.0\r\nfaulty\r\nl:0\r\n\r\n"


@pytest.fixture(autouse=True)
def no_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests sweep themselves."""
    monkeypatch.setattr(pool, "SWEEP_SECONDS", 3600)


class Turns(Inbox):
    """Counts messages by turn of the event loop."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = 0
        self.by_turn: dict[int, int] = {}

    def count(self) -> None:
        self.by_turn[self.turn] = self.by_turn.get(self.turn, 0) + 1

    def response(self, data: bytes) -> None:
        self.count()

    def receive(self, data: bytes, flow: Flow) -> None:
        self.count()

    def refuse(self, error: SipParseError, flow: Flow) -> None:
        self.count()

    async def run_until(self, total: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while sum(self.by_turn.values()) < total:
                await asyncio.sleep(0)
                self.turn += 1


async def only_connection(edge: Network) -> Connection:
    """The one that a peer has opened."""
    await until(lambda: len(edge.pool._connections) == 1)
    (connection,) = edge.pool._connections
    return connection


@pytest.mark.parametrize("message", [MESSAGE, ACK, OK, BUSY, FAULTY])
@pytest.mark.parametrize("requests", [0, 1000])
async def test_one_turn_passes_on_few_messages(message: bytes, requests: int) -> None:
    """However many are there, of whatever kind: other work of the event loop gets its turn."""
    inbox, total = Turns(), 20 * PER_TURN
    async with listening(inbox, "tcp:127.0.0.1:0") as edge:
        _, writer = await asyncio.open_connection(*edge.addresses[0][1:])
        connection = await only_connection(edge)
        connection._inbound.expected = requests * RESPONSES_PER_REQUEST
        writer.write(message * total)
        await inbox.run_until(total)
        assert max(inbox.by_turn.values()) <= (MAX_TOGETHER if requests and message == OK else PER_TURN)
        writer.write(message)
        await inbox.run_until(total + 1)
        writer.close()


@pytest.fixture
async def slowed() -> AsyncIterator[tuple[Network, Inbox, Connection, asyncio.StreamWriter]]:
    """A peer that has sent 1,000 messages, of which 3 were admitted."""
    inbox = Inbox()
    async with listening(inbox, "tcp:127.0.0.1:0") as edge:
        _, writer = await asyncio.open_connection(*edge.addresses[0][1:])
        connection = await only_connection(edge)
        inbox.admitted = 3
        writer.write(MESSAGE * 1000)
        await until(lambda: connection._inbound.is_slowed)
        yield edge, inbox, connection, writer
        writer.close()


Slowed = tuple[Network, Inbox, Connection, asyncio.StreamWriter]


async def test_a_peer_that_sends_too_much_is_read_as_fast_as_is_admitted(slowed: Slowed) -> None:
    """Nothing is lost as long as the connection is open."""
    _, inbox, connection, _ = slowed
    assert (len(inbox.got), connection._inbound._is_paused) == (3, True)
    inbox.admitted = 4
    connection.sweep()
    assert (len(inbox.got), connection._inbound._is_paused) == (7, True)
    inbox.admitted = -1
    connection.sweep()
    await inbox.wait_for(1000)
    assert not connection._inbound._is_paused


async def test_a_peer_that_goes_on_sending_too_much_is_disconnected(slowed: Slowed) -> None:
    """After ten seconds; shorter ones are forgotten in time."""
    edge, inbox, connection, _ = slowed
    for _ in range(MAX_SLOWED):
        inbox.admitted = 1
        connection.sweep()
    assert connection.is_open
    assert len(inbox.got) == 3 + MAX_SLOWED
    connection.sweep()
    assert not connection.is_open
    connection.abort()
    await until(lambda: edge.pool.count == 0)


@pytest.mark.parametrize("message", [ACK, OK, BUSY, FAULTY, b"\x16\x03"])
async def test_a_message_is_counted_before_it_is_parsed(message: bytes) -> None:
    """Requests, responses and faults; only keep-alives cost nothing."""
    inbox = Inbox()
    async with listening(inbox, "tcp:127.0.0.1:0") as edge:
        reader, writer = await asyncio.open_connection(*edge.addresses[0][1:])
        connection = await only_connection(edge)
        inbox.admitted = 1
        writer.write(MESSAGE + b"\r\n\r\n" + message)
        await until(lambda: connection._inbound.is_slowed)
        assert (inbox.got, inbox.refused) == ([MESSAGE], [])
        assert await asyncio.wait_for(reader.readexactly(2), PATIENCE) == b"\r\n"
        writer.close()


async def test_responses_to_requests_of_ours_are_not_counted() -> None:
    """A next hop responds as fast as we send. Responses without a request are counted."""
    inbox = Inbox()
    async with listening(inbox, "tcp:127.0.0.1:0") as edge:
        _, writer = await asyncio.open_connection(*edge.addresses[0][1:])
        connection = await only_connection(edge)
        inbox.admitted = 0
        for _ in range(2):
            edge.send(Hop("tcp", *writer.get_extra_info("sockname")[:2]), MESSAGE, Errors())
        expected = 2 * RESPONSES_PER_REQUEST
        writer.write(OK + BUSY + OK * expected)
        await inbox.wait_for(expected)
        assert connection._inbound.is_slowed
        assert len(inbox.got) == expected
        writer.close()


async def test_a_new_connection_counts_as_a_message() -> None:
    """A peer that connects again and again, with a TLS handshake each time, costs more than by messages."""
    inbox = Inbox()
    inbox.admitted = 2
    async with listening(inbox, "tcp:127.0.0.1:0") as edge:
        peers = [await asyncio.open_connection(*edge.addresses[0][1:]) for _ in range(3)]
        reader, _ = peers[2]
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
        assert (edge.pool.count, edge.pool.refused) == (2, 1)
        for _, writer in peers:
            writer.close()
