"""The SIP user agent of the terminal, with plain sockets and with another agent.

This file also covers tcp_server.py; tests/integration/test_chat.py covers chat.py.

Covers own_address.py too.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from imc_cli import user_agent
from imc_cli.own_address import UserAgentError
from imc_cli.user_agent import Incoming, UserAgent
from tests.patience import PATIENCE


class Peer(asyncio.DatagramProtocol):
    """A plain socket: keeps what it receives and sends what the test chooses."""

    def __init__(self) -> None:
        self.got: asyncio.Queue[str] = asyncio.Queue()
        self.source: tuple[str, int] = ("", 0)
        self.transport: asyncio.DatagramTransport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Keep it."""
        self.source = addr
        self.got.put_nowait(data.decode())

    @property
    def place(self) -> tuple[str, int]:
        """Where it listens."""
        place: tuple[str, int] = self.transport.get_extra_info("sockname")
        return place

    def respond(self, request: str, status: str, *headers: str) -> None:
        """Respond to a request."""
        lines = [line for line in request.split("\r\n") if re.match("Via|From|To|Call-ID|CSeq", line)]
        text = "\r\n".join([f"SIP/2.0 {status}", *lines, *headers, "Content-Length: 0", "", ""])
        self.transport.sendto(text.encode(), self.source)

    def send(self, agent: UserAgent, request: str) -> None:
        """Send bytes to an agent."""
        host, _, port = agent.address.rpartition("@")[2].rpartition(":")
        self.transport.sendto(request.replace("\n", "\r\n").encode(), (host, int(port)))


MESSAGE = """MESSAGE sip:alice@127.0.0.1 SIP/2.0
Via: SIP/2.0/UDP 127.0.0.1:5999;branch=z9hG4bK1
Max-Forwards: 70
From: "Bob B." <sip:bob@EXAMPLE.org>;tag=1
To: <sip:alice@127.0.0.1>
Call-ID: one
CSeq: 1 MESSAGE
Content-Type: text/plain
Content-Length: 4

hi 1"""


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    """A plain socket."""
    transport, peer = await asyncio.get_running_loop().create_datagram_endpoint(
        Peer, local_addr=("127.0.0.1", 0)
    )
    peer.transport = transport
    yield peer
    transport.close()


Open = Callable[[str], Awaitable[tuple[UserAgent, list[Incoming]]]]


@pytest.fixture
async def open_agent(peer: Peer) -> AsyncIterator[Open]:
    """Makes agents that send to the peer, each with the list of its messages."""
    agents: list[UserAgent] = []

    async def make(uri: str) -> tuple[UserAgent, list[Incoming]]:
        inbox: list[Incoming] = []
        agents.append(await UserAgent.open(uri, peer.place, inbox.append))
        return agents[-1], inbox

    yield make
    for agent in agents:
        await agent.close()


async def test_a_message_has_all_mandatory_headers(peer: Peer, open_agent: Open) -> None:
    """RFC 3261 §8.1.1, with Content-Type and Content-Length of the text."""
    agent, _ = await open_agent("sip:alice@127.0.0.1:0")
    sending = asyncio.create_task(agent.send("sip:room@example.org", "Grüße"))
    request = await peer.got.get()
    peer.respond(request, "202 Accepted")
    assert (await sending).ok
    assert request.startswith("MESSAGE sip:room@example.org SIP/2.0\r\n")
    assert f"From: <sip:{agent.address}>;tag=" in request
    assert "To: <sip:room@example.org>\r\n" in request
    assert "Content-Length: 7\r\n" in request
    assert request.endswith("\r\n\r\nGrüße")
    for name in ("Via", "Max-Forwards", "Call-ID", "CSeq"):
        assert f"\r\n{name}: " in request


async def test_a_message_that_comes_again_gets_a_response_and_is_not_shown(
    peer: Peer, open_agent: Open
) -> None:
    """Also in a new transaction, as from the history of a room: the response has the new branch."""
    agent, inbox = await open_agent("sip:alice@127.0.0.1:0")
    for branch in ("z9hG4bK1", "z9hG4bK1", "z9hG4bK2"):
        peer.send(agent, MESSAGE.replace("z9hG4bK1", branch))
        response = await asyncio.wait_for(peer.got.get(), PATIENCE)
        assert response.startswith("SIP/2.0 200 OK")
        assert f";branch={branch}" in response
    assert len(inbox) == 1


async def test_a_phone_that_is_off_is_unregistered_and_silent(peer: Peer, open_agent: Open) -> None:
    """Until it is on again: then it registers, and takes a retransmission of what it has missed."""
    agent, inbox = await open_agent("sip:alice@127.0.0.1:0")

    async def respond() -> list[str]:
        request = await asyncio.wait_for(peer.got.get(), PATIENCE)
        peer.respond(request, "200 OK")
        return re.findall(r"^REGISTER|expires=\d+", request)

    assert (await asyncio.gather(agent.register(PATIENCE), respond()))[1] == ["REGISTER", "expires=600"]
    assert (await asyncio.gather(agent.switch_off(), respond()))[1] == ["REGISTER", "expires=0"]
    peer.send(agent, MESSAGE)
    await asyncio.sleep(0.1)
    assert inbox == []
    assert peer.got.empty()
    assert (await asyncio.gather(agent.switch_on(PATIENCE), respond()))[1] == ["REGISTER", "expires=600"]
    peer.send(agent, MESSAGE)
    assert (await asyncio.wait_for(peer.got.get(), PATIENCE)).startswith("SIP/2.0 200 OK")
    assert [incoming.text for incoming in inbox] == ["hi 1"]


async def test_a_request_is_retransmitted_until_the_final_response(peer: Peer, open_agent: Open) -> None:
    """RFC 3261 §17.1.2.2: after 0.5 s, then 1 s, with the same bytes. A provisional response does not end
    it."""
    agent, _ = await open_agent("sip:alice@127.0.0.1:0")
    sending = asyncio.create_task(agent.send("sip:room@example.org", "hello"))
    first = await peer.got.get()
    peer.respond(first, "100 Trying")
    assert await asyncio.wait_for(peer.got.get(), PATIENCE) == first
    peer.respond(first, "404 Not Found")
    response = await sending
    assert (response.status, response.reason, response.ok) == (404, "Not Found", False)
    while not peer.got.empty():  # retransmitted before the response arrived
        peer.got.get_nowait()
    await asyncio.sleep(1.2)
    assert peer.got.empty()


async def test_no_response_counts_as_408(
    peer: Peer, open_agent: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 3261 §8.1.3.1: when timer F fires. A later response is discarded."""
    monkeypatch.setattr(user_agent, "TIMER_F", 0.2)
    agent, _ = await open_agent("sip:alice@127.0.0.1:0")
    response = await agent.send("sip:room@example.org", "hello")
    peer.respond(await peer.got.get(), "202 Accepted")
    await asyncio.sleep(0.1)
    assert response.status == 408


async def test_options_are_sent_to_the_next_hop(peer: Peer, open_agent: Open) -> None:
    """Addressed to the hop, without a user."""
    agent, _ = await open_agent("sip:alice@127.0.0.1:0")
    asking = asyncio.create_task(agent.options(within=PATIENCE))
    request = await peer.got.get()
    peer.respond(request, "503 Service Unavailable")
    assert (await asking).status == 503
    assert request.startswith(f"OPTIONS sip:127.0.0.1:{peer.place[1]} SIP/2.0\r\n")
    assert "Content-Type" not in request


async def test_a_registration_is_renewed_and_removed(
    peer: Peer, open_agent: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 3261 §10.2: one Call-ID, rising CSeq, and expires=0 at last."""
    monkeypatch.setattr(user_agent, "EXPIRES", 0.2)
    agent, _ = await open_agent("sip:alice@127.0.0.1:0")
    registering = asyncio.create_task(agent.register(PATIENCE))
    requests = [await peer.got.get()]
    peer.respond(requests[0], "200 OK")
    assert (await registering).ok
    requests.append(await peer.got.get())
    peer.respond(requests[1], "200 OK")
    closing = asyncio.create_task(agent.close())
    while "expires=0\r\n" not in requests[-1]:
        requests.append(await peer.got.get())
        peer.respond(requests[-1], "200 OK")
    await closing
    assert {request.partition("\r\n")[0] for request in requests} == {"REGISTER sip:127.0.0.1 SIP/2.0"}
    assert len({re.findall("Call-ID: .*", request)[0] for request in requests}) == 1
    numbers = [int(re.findall(r"CSeq: (\d+) REGISTER", request)[0]) for request in requests]
    assert numbers == sorted(numbers)
    assert f"\r\nTo: <sip:{agent.address}>\r\n" in requests[0]
    assert f"\r\nContact: <sip:{agent.address}>;expires=0.2\r\n" in requests[0]


async def test_a_registration_is_renewed_before_the_registrar_forgets_it(
    peer: Peer, open_agent: Open
) -> None:
    """After half of the seconds that it granted to this contact, which are often fewer than asked for."""
    agent, _ = await open_agent("sip:alice@127.0.0.1:0")
    registering = asyncio.create_task(agent.register(PATIENCE))
    others = f"Contact: <sip:alice@127.0.0.2:5060>;expires=3600, <sip:{agent.address}>;expires=2"
    peer.respond(await peer.got.get(), "200 OK", others)
    assert (await registering).ok
    renewed = await asyncio.wait_for(peer.got.get(), PATIENCE)
    assert renewed.startswith("REGISTER ")
    peer.respond(renewed, "200 OK")


def challenge(header: str, nonce: str) -> str:
    """A digest challenge."""
    return f'{header}: Digest realm="h", nonce="{nonce}", algorithm=SHA-256, qop="auth"'


@pytest.mark.parametrize("method", ["MESSAGE", "REGISTER"])
async def test_challenges_of_a_proxy_and_of_a_server_behind_it_are_both_met(peer: Peer, method: str) -> None:
    """RFC 3261 §22.2 and §22.3: 407 by Proxy-Authorization, 401 by Authorization, each once."""
    agent = await UserAgent.open("sip:alice@127.0.0.1:0", peer.place, print, "wonder-land")
    sending = asyncio.create_task(
        agent.send("sip:room@example.org", "hi") if method == "MESSAGE" else agent.register(PATIENCE)
    )
    peer.respond(
        await peer.got.get(), "407 Proxy Authentication Required", challenge("Proxy-Authenticate", "p")
    )
    second = await peer.got.get()
    assert re.search(r'\r\nProxy-Authorization: Digest username="alice", .*nonce="p"', second)
    assert "\r\nAuthorization: " not in second
    peer.respond(second, "401 Unauthorized", challenge("WWW-Authenticate", "s"))
    third = await peer.got.get()
    assert re.search(r'\r\nProxy-Authorization: Digest .*nonce="p"', third)
    assert re.search(r'\r\nAuthorization: Digest .*nonce="s"', third)
    peer.respond(third, "401 Unauthorized", challenge("WWW-Authenticate", "s2"))
    assert (await sending).status == 401, "a wrong password is not tried again"
    assert peer.got.empty()
    await agent.close()


async def test_a_user_of_a_domain_listens_at_an_address_of_this_machine(peer: Peer) -> None:
    """From is the address as given; Via and Contact have the socket's."""
    agent = await UserAgent.open("sip:alice@example.org", peer.place, print)
    assert agent.address == "alice@example.org"
    assert re.fullmatch(r"127\.0\.0\.1:\d+", agent.place)
    registering = asyncio.create_task(agent.register(PATIENCE))
    request = await peer.got.get()
    peer.respond(request, "405 Method Not Allowed")
    await registering
    assert request.startswith("REGISTER sip:example.org SIP/2.0\r\n")
    assert f"Via: SIP/2.0/UDP {agent.place};" in request
    assert "From: <sip:alice@example.org>;tag=" in request
    assert f"\r\nContact: <sip:alice@{agent.place}>;expires=600\r\n" in request
    await agent.close()


@pytest.mark.parametrize(
    ("uri", "listen", "address", "place"),
    [
        ("sip:alice@example.org:5090", ("127.0.0.1", 0), "alice@example.org", "127.0.0.1:PORT"),
        ("sip:alice@192.0.2.7:5090", ("127.0.0.1", 0), "alice@192.0.2.7:5090", "127.0.0.1:PORT"),
        ("sip:alice@example.org", ("0.0.0.0", 0), "alice@example.org", "127.0.0.1:PORT"),
        ("sip:alice@example.org", ("::1", 0), "alice@example.org", "[::1]:PORT"),
        ("sip:alice@127.0.0.1:0", None, "alice@127.0.0.1:PORT", "127.0.0.1:PORT"),
        ("sip:alice@localhost:0", None, "alice@127.0.0.1:PORT", "127.0.0.1:PORT"),
    ],
)
async def test_identity_and_socket_are_separate(
    peer: Peer, uri: str, listen: tuple[str, int] | None, address: str, place: str
) -> None:
    """With `--listen`. Without it, an IP address in the user's address is that of the socket."""
    agent = await UserAgent.open(uri, peer.place, print, None, listen)
    port = agent.place.rpartition(":")[2]
    assert (agent.address, agent.place) == (address.replace("PORT", port), place.replace("PORT", port))
    await agent.close()


async def test_a_hop_that_is_no_registrar_gets_no_further_register(peer: Peer, open_agent: Open) -> None:
    """Such as an edge, which responds with 405."""
    agent, _ = await open_agent("sip:alice@127.0.0.1:0")
    registering = asyncio.create_task(agent.register(PATIENCE))
    peer.respond(await peer.got.get(), "405 Method Not Allowed")
    assert (await registering).status == 405
    await agent.close()
    assert peer.got.empty()


async def test_a_retransmitted_message_gets_the_same_response_and_is_shown_once(
    peer: Peer, open_agent: Open
) -> None:
    """RFC 3261 §17.2.2."""
    agent, inbox = await open_agent("sip:alice@127.0.0.1:0")
    peer.send(agent, MESSAGE)
    first = await peer.got.get()
    peer.send(agent, MESSAGE)
    assert await peer.got.get() == first
    peer.send(agent, MESSAGE.replace("CSeq: 1", "CSeq: 2").replace("hi 1", "hi 2"))
    await peer.got.get()
    assert first.startswith("SIP/2.0 200 OK\r\n")
    assert [(one.sender, one.name, one.text) for one in inbox] == [
        ("bob@example.org", "Bob B.", "hi 1"),
        ("bob@example.org", "Bob B.", "hi 2"),
    ]


@pytest.mark.parametrize(("method", "status"), [("OPTIONS", 200), ("INVITE", 405)])
async def test_other_methods_get_200_or_405_with_allow(
    peer: Peer, open_agent: Open, method: str, status: int
) -> None:
    """RFC 3261 §11.2 and §21.4.6."""
    agent, inbox = await open_agent("sip:alice@127.0.0.1:0")
    peer.send(agent, MESSAGE.replace("MESSAGE", method))
    response = await peer.got.get()
    assert response.startswith(f"SIP/2.0 {status} ")
    assert "\r\nAllow: MESSAGE, OPTIONS\r\n" in response
    assert inbox == []


async def test_malformed_messages_get_no_response(peer: Peer, open_agent: Open) -> None:
    """Nor does an ACK. The agent continues."""
    agent, inbox = await open_agent("sip:alice@127.0.0.1:0")
    for junk in ("junk", "\n\n", MESSAGE.replace("MESSAGE", "ACK"), MESSAGE.replace("tag=1", 'tag="')):
        peer.send(agent, junk)
    peer.send(agent, MESSAGE)
    assert (await peer.got.get()).startswith("SIP/2.0 200 ")
    assert len(inbox) == 1


async def test_the_number_of_remembered_responses_is_limited(
    peer: Peer, open_agent: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest is removed first."""
    monkeypatch.setattr(user_agent, "MAX_REMEMBERED", 2)
    agent, inbox = await open_agent("sip:alice@127.0.0.1:0")
    for number in (1, 2, 3, 3, 1):
        peer.send(agent, MESSAGE.replace("Call-ID: one", f"Call-ID: {number}"))
        await peer.got.get()
    assert len(inbox) == 4


@pytest.mark.parametrize(
    "uri", ["alice", "sip:127.0.0.1:0", "tel:123", "sip:alice@192.0.2.1:0", "sip:alice@127.0.0.1:99999"]
)
async def test_an_unusable_address_is_reported(open_agent: Open, uri: str) -> None:
    """Not a URI, without user, or not an address of this machine."""
    with pytest.raises(UserAgentError, match=re.escape(uri) if "192" not in uri else "cannot listen"):
        await open_agent(uri)


async def test_a_next_hop_that_cannot_be_resolved_is_reported() -> None:
    """With its name."""
    with pytest.raises(UserAgentError, match="cannot be resolved"):
        await UserAgent.open("sip:alice@127.0.0.1:0", ("no-such-host.invalid", 5060), print)


async def test_user_agents_support_ipv6() -> None:
    """Two agents send to each other over IPv6."""
    inbox: list[Incoming] = []
    bob = await UserAgent.open("sip:bob@[::1]:0", ("::1", 9), inbox.append)
    port = int(bob.address.rpartition(":")[2])
    alice = await UserAgent.open("sip:alice@[::1]:0", ("::1", port), inbox.append)
    try:
        assert (await alice.send(f"sip:{bob.address}", "hello")).status == 200
        assert (await alice.options(within=PATIENCE)).status == 200
        assert [one.sender for one in inbox] == [alice.address]
    finally:
        await alice.close()
        await bob.close()


def on_a_stream(text: str) -> bytes:
    """A request as it comes over TCP."""
    return text.replace("\n", "\r\n").replace("SIP/2.0/UDP", "SIP/2.0/TCP").encode()


async def test_messages_are_received_over_tcp_on_the_same_port(open_agent: Open) -> None:
    """RFC 3261 §18.1.1: large requests come over TCP. A keep-alive gets a reply (RFC 5626 §4.4.1)."""
    agent, inbox = await open_agent("sip:alice@127.0.0.1:0")
    host, _, port = agent.address.rpartition("@")[2].rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    second = MESSAGE.replace("Call-ID: one", "Call-ID: two")
    broken = MESSAGE.replace("Content-Type: text/plain", "\x01")
    writer.write(on_a_stream(MESSAGE) + b"\r\n\r\n" + on_a_stream(broken) + on_a_stream(second)[:-2])
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"SIP/2.0 200 OK\r\n")
    assert await reader.readexactly(2) == b"\r\n"
    writer.write(on_a_stream(second)[-2:])
    assert b"Call-ID: two\r\n" in await reader.readuntil(b"\r\n\r\n")
    assert [one.text for one in inbox] == ["hi 1", "hi 1"]
    writer.write(b"\x16\x03\x01 no SIP at all")
    assert await reader.read() == b"", "an unusable stream is closed"
    writer.close()


async def test_close_closes_open_connections(peer: Peer) -> None:
    """All connections of the agent end."""
    agent = await UserAgent.open("sip:alice@127.0.0.1:0", peer.place, print)
    host, _, port = agent.address.rpartition("@")[2].rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(on_a_stream(MESSAGE))
    await reader.readuntil(b"\r\n\r\n")
    await agent.close()
    assert await reader.read() == b""
    writer.close()


async def test_a_port_in_use_is_reported(peer: Peer) -> None:
    """With the address."""
    with pytest.raises(UserAgentError, match=f"cannot listen on 127.0.0.1:{peer.place[1]}: .*in use"):
        await UserAgent.open(f"sip:alice@127.0.0.1:{peer.place[1]}", peer.place, print)
