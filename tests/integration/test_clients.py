"""The corpus of real clients' MESSAGEs against real edge and worker processes, over UDP and TCP.

Every member but the sender is one socket, the edge's outbound proxy: it receives the deliveries to all
members.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import closing

import pytest

from tests.conformance.as_message import as_message, with_sent_by
from tests.conformance.client_corpus import CLIENTS, ClientMessage
from tests.integration.service import Service, service
from tests.integration.sip_user import Received, SipUser
from tests.patience import PATIENCE
from tests.ports import free_port

pytestmark = pytest.mark.integration

BOB = "bob@example.org"
NUMBERS = itertools.count(1)
FAULTY = pytest.mark.xfail(strict=True)


class Room:
    """A new room of bob's, and what arrives for bob from it."""

    def __init__(self, world: SipUser) -> None:
        self.address = f"room-{next(NUMBERS):04}@example.org"
        self._world = world

    async def say(self, text: str) -> None:
        """Bob sends a text to the room."""
        await self._world.say(f"sip:{self.address}", text, sender=BOB)

    async def next_delivery(self) -> Received:
        """The next delivery from this room to bob; deliveries to other members are skipped."""
        while True:
            received = await asyncio.wait_for(self._world.inbox.get(), PATIENCE)
            target = received.request.uri
            if received.sender == self.address and f"{target.user}@{target.host}" == BOB:
                return received


@pytest.fixture(scope="module")
def proxy_port() -> int:
    """The port of the outbound proxy."""
    return free_port()


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, proxy_port: int) -> Iterator[Service]:
    """One edge and one worker."""
    settings = {"outbound_proxy": f"sip:127.0.0.1:{proxy_port};transport=udp"}
    with service(tmp_path_factory.mktemp("clients"), "valkey", settings) as running:
        yield running


@pytest.fixture
async def world(live: Service, proxy_port: int) -> AsyncIterator[SipUser]:
    """All members."""
    user = await SipUser.open("world", live.edge, proxy_port)
    yield user
    user.close()


def status_of(response: bytes) -> int:
    """The status in a response."""
    return int(response.split(b" ", 2)[1])


def send_udp(data: bytes, edge: tuple[str, int]) -> int:
    """Send a datagram; returns the status of the response."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(PATIENCE)
        sock.sendto(with_sent_by(data, sock.getsockname()[1]), edge)
        return status_of(sock.recv(65_535))


def send_tcp(data: bytes, edge: tuple[str, int]) -> int:
    """Send on a new connection; returns the status of the response."""
    with closing(socket.create_connection(edge, timeout=PATIENCE)) as sock:
        sock.sendall(data)
        return status_of(sock.recv(65_535))


SEND = {"udp": send_udp, "tcp": send_tcp}


async def send(data: bytes, edge: tuple[str, int], transport: str) -> int:
    """Send a message; returns the status. After a 503, which a stall can cause, it is sent again."""
    for _ in range(10):
        status = await asyncio.to_thread(SEND[transport], data, edge)
        if status != 503:
            return status
        await asyncio.sleep(1)
    return 503


@pytest.mark.parametrize("transport", list(SEND))
@pytest.mark.parametrize(
    "each", [pytest.param(each, id=str(each), marks=[FAULTY] * bool(each.fault)) for each in CLIENTS]
)
async def test_a_clients_message_has_the_expected_effect_in_a_room(
    each: ClientMessage, transport: str, live: Service, world: SipUser
) -> None:
    """The expected status; bob gets the text, or the notice that the sender joined, or nothing."""
    room = Room(world)
    await room.say("#create")
    assert (await room.next_delivery()).text.startswith("*** ")
    is_member = each.status == 202 and each.outcome != "command join"
    if is_member:
        await room.say(f"#add sip:{each.sender}")
        assert each.sender in (await room.next_delivery()).text
    unique = f"{transport}-{next(NUMBERS)}"
    status = await send(as_message(each.in_room(room.address), unique), live.edge, transport)
    assert status == each.status
    await room.say("#list")
    if each.outcome == "message":
        received = await room.next_delivery()
        assert each.text in received.text
        assert not received.text.startswith("*** ")
    if each.outcome == "command join":
        assert f"{each.sender} has joined" in (await room.next_delivery()).text
    members = (await room.next_delivery()).text
    assert members.startswith("*** ")
    assert (each.sender in members) == (each.status == 202)
