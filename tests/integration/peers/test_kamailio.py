"""Kamailio as load balancer of two edges, as registrar, and as outbound proxy of deliveries."""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis

from imc_cli.demo_conversation import USERS
from imc_common import keys
from tests.integration.command import run
from tests.integration.login import PASSWORD, credentials
from tests.integration.peers.kamailio import Site, site
from tests.integration.peers.linphone import Linphone
from tests.integration.sip_user import SipUser
from tests.patience import PATIENCE

pytestmark = pytest.mark.integration


@pytest.fixture
def balanced(tmp_path: Path) -> Iterator[Site]:
    """A balancer with two edges in service."""
    with site(tmp_path) as running:
        yield running


@pytest.fixture
async def users(balanced: Site) -> AsyncIterator[list[SipUser]]:
    """alice and bob, who send to the balancer."""
    opened = [await SipUser.open(name, balanced.address) for name in ("alice", "bob")]
    for user in opened:
        await register(user, "127.0.0.1")
    yield opened
    for user in opened:
        user.close()


async def meet(users: list[SipUser]) -> str:
    """Put both into a new room and read all notices; returns its URI."""
    room = f"sip:room-{secrets.token_hex(4)}@example.org"
    alice, bob = users
    await alice.say(room, "#create")
    await alice.assert_gets(".*You have created.*")
    await bob.say(room, "#join")
    for user in users:
        await user.assert_gets(".*joined.*")
    return room


async def assert_lines_arrive(users: list[SipUser], room: str, count: int, prefix: str) -> None:
    """alice sends ``count`` lines; each must be accepted and reach bob once and in order."""
    alice, bob = users
    for number in range(count):
        await alice.say(room, f"{prefix} {number}")
    for number in range(count):
        await bob.assert_gets(f".*{prefix} {number}")
    await bob.assert_gets_nothing()


async def test_a_conversation_through_the_balancer_uses_both_edges(
    users: list[SipUser], balanced: Site
) -> None:
    """The balancer distributes requests by Call-ID; messages stay in order."""
    room = await meet(users)
    await assert_lines_arrive(users, room, 20, "line")


async def test_a_draining_edge_leaves_the_balancer_and_nothing_is_lost(
    users: list[SipUser], balanced: Site
) -> None:
    """After SIGTERM the edge responds to OPTIONS with 503, so the balancer uses the other edge."""
    room = await meet(users)
    talking = asyncio.create_task(assert_lines_arrive(users, room, 40, "while it goes"))
    await asyncio.sleep(0.1)
    edge = balanced.edges["127.0.0.2"]
    edge.send(signal.SIGTERM)
    await talking
    assert edge.child is not None
    assert await asyncio.to_thread(edge.child.wait, 100) == 0
    await asyncio.to_thread(balanced.wait_for_edges, 1)
    await assert_lines_arrive(users, room, 10, "with one edge")


async def test_a_killed_edge_leaves_the_balancer_and_nothing_is_lost(
    users: list[SipUser], balanced: Site
) -> None:
    """The balancer retries at the other edge with a new branch; no message is delivered twice."""
    room = await meet(users)
    edge = balanced.edges["127.0.0.3"]
    edge.end(signal.SIGKILL)
    await assert_lines_arrive(users, room, 10, "after a death")
    await asyncio.to_thread(balanced.wait_for_edges, 1)
    edge.start()
    await asyncio.to_thread(balanced.wait_for_edges, 2)
    await assert_lines_arrive(users, room, 10, "together again")


async def test_registered_users_are_reached_at_their_contact(users: list[SipUser], balanced: Site) -> None:
    """Addresses without a port: the registrar knows the contacts."""
    room = f"sip:room-{secrets.token_hex(4)}@example.org"
    alice, bob = users
    for user in users:
        await register(user)
    await alice.say(room, "#create", headers="", sender="alice@example.org")
    await alice.assert_gets(".*You have created.*")
    await bob.say(room, "#join", sender="bob@example.org")
    await alice.assert_gets(".*bob@example.org has joined.*")
    await bob.assert_gets(".*You have joined.*")
    await alice.say(room, "hello", sender="alice@example.org")
    received = await bob.assert_gets("<alice@example.org>: hello")
    assert received.request.uri.port == bob.port, "the Request-URI is the registered contact"
    assert "rport" in received.request.via[0].parameters, "responses come back through any NAT"


async def register(user: SipUser, domain: str = "example.org", contact: str = "") -> None:
    """REGISTER ``NAME@DOMAIN`` at this user's socket, or with another address in Contact."""
    contact = f"Contact: <sip:{user.name}@{contact or f'127.0.0.1:{user.port}'}>\r\n"
    where = f"sip:{user.name}@{domain}"
    response = await user.send(where, b"", method="REGISTER", headers=contact, sender=where[4:])
    assert response.code == 200


@pytest.fixture
async def elsewhere(balanced: Site) -> AsyncIterator[SipUser]:
    """Somebody who does not know the balancer, and whom it must never send anything to."""
    user = await SipUser.open("elsewhere", balanced.address)
    yield user
    await user.assert_gets_nothing()
    assert user.arrivals == []
    user.close()


async def test_who_is_not_registered_gets_nothing(balanced: Site, elsewhere: SipUser) -> None:
    """Not even at the address in the Request-URI: an edge cannot be used to reach the balancer's networks."""
    edge = await SipUser.open("edge", ("127.0.0.1", balanced.edges_port))
    for uri in (f"sip:{elsewhere.address}", f"sip:127.0.0.1:{elsewhere.port}"):
        assert (await edge.send(uri, "hello")).code == 480
    edge.close()


@pytest.mark.parametrize("leaves", [True, False], ids=["unregistered", "vanished"])
async def test_a_user_gets_what_was_said_while_away(tmp_path: Path, leaves: bool) -> None:
    """The balancer responds 480, or 408 after 5 s, and tells the edges who registers."""
    with (
        site(tmp_path, {"history_max_messages": "500"}) as balanced,
        redis.Redis.from_url(balanced.redis.url) as db,
        db.pubsub(ignore_subscribe_messages=True) as news,
    ):
        alice, bob = [await SipUser.open(name, balanced.address) for name in ("alice", "bob")]
        for user in (alice, bob):
            await register(user, "127.0.0.1")
        room, bobs_address = await meet([alice, bob]), bob.address
        if leaves:
            headers = f"Contact: <sip:{bobs_address}>;expires=0\r\n"
            assert (
                await bob.send(f"sip:{bobs_address}", b"", method="REGISTER", headers=headers)
            ).code == 200
        bob.close()
        for number in range(12):
            await alice.say(room, f"meanwhile {number}")
        back = await SipUser.open("bob", balanced.address)
        where = f"sip:{bobs_address}"
        headers = f"Contact: <sip:{back.address}>\r\n"
        news.subscribe(keys.PRESENCE)
        response = await back.send(where, b"", method="REGISTER", headers=headers, sender=bobs_address)
        assert response.code == 200
        for number in range(12):
            await back.assert_gets(f".*meanwhile {number}")
        heard = [message["data"] for _ in range(4) if (message := news.get_message(timeout=1))]
        assert f"online {bobs_address}".encode() in heard
        await alice.say(room, "welcome back")
        await back.assert_gets(".*welcome back")
        await back.assert_gets_nothing()
        for user in (alice, back):
            user.close()


async def test_a_contact_cannot_send_messages_elsewhere(balanced: Site, elsewhere: SipUser) -> None:
    """What is for a user goes to where the REGISTER came from, whatever address its Contact names."""
    edge = await SipUser.open("edge", ("127.0.0.1", balanced.edges_port))
    mallory = await SipUser.open("mallory", balanced.address)
    await register(mallory, contact=f"127.0.0.1:{elsewhere.port}")
    assert (await edge.send("sip:mallory@example.org", "hello")).code == 200
    await mallory.assert_gets("hello")
    for user in (edge, mallory):
        user.close()


@pytest.mark.parametrize("at", ["users", "edges"])
async def test_a_stray_response_goes_nowhere(balanced: Site, elsewhere: SipUser, at: str) -> None:
    """One that belongs to no request would be forwarded to whatever its second Via names."""
    port = balanced.port if at == "users" else balanced.edges_port
    mallory = await SipUser.open("mallory", ("127.0.0.1", port))
    stray = (
        f"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bKcafe.1.0\r\n"
        f"Via: SIP/2.0/UDP 127.0.0.1:{elsewhere.port};branch=z9hG4bKbeef\r\n"
        "From: <sip:a@h>;tag=1\r\nTo: <sip:b@h>;tag=2\r\nCall-ID: stray\r\nCSeq: 1 MESSAGE\r\n"
        "Content-Length: 0\r\n\r\n"
    )
    mallory._transport.sendto(stray.encode(), mallory.edge)
    read = await mallory.send("sip:127.0.0.1", b"", method="PUBLISH")  # after the stray response
    assert read.code == 405
    mallory.close()


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
async def test_a_response_goes_to_where_the_request_came_from(balanced: Site, method: str) -> None:
    """Whatever address its Via names as maddr; both the balancer's own responses and those of edges."""
    mallory = await SipUser.open("mallory", balanced.address)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as victim:
        victim.bind(("127.0.0.9", mallory.port))
        victim.setblocking(False)
        request = mallory.request("sip:tea@example.org", "#create", method=method)
        request = request.replace(b";rport", b"").replace(b";branch=", b";maddr=127.0.0.9;branch=")
        response = mallory.transmit(request)
        await asyncio.wait_for(response, PATIENCE)
        with pytest.raises(BlockingIOError):
            victim.recv(2000)
    mallory.close()


async def test_digest_authentication_works_through_the_balancer(tmp_path: Path) -> None:
    """Challenge and credentials pass unchanged and may go through different edges."""
    with site(tmp_path, {"identity": "digest"}) as balanced:
        user = ("user", "add", "alice@127.0.0.1", "--db-url", balanced.redis.url)
        done = await asyncio.to_thread(run, *user, text=f"{PASSWORD}\n")
        assert done.returncode == 0, done.stderr
        alice = await SipUser.open("alice", balanced.address)
        await register(alice, "127.0.0.1")
        room = "sip:tea@example.org"
        for line, told in (("#create", ".*You have created.*"), ("#list", ".*Members.*")) * 3:
            challenged = await alice.send(room, line)
            assert challenged.code == 401
            login = credentials(challenged, "alice", room, "SHA-256")
            assert (await alice.send(room, line, headers=login)).code == 202
            await alice.assert_gets(told if line == "#list" else ".*")
        alice.close()


@pytest.mark.parametrize("algorithms", ["", "SHA-256,SHA-512-256,MD5", "MD5"])
def test_linphone_logs_in_with_a_password(tmp_path: Path, algorithms: str) -> None:
    """With the default algorithms and others: it uses the first challenge, and knows no SHA-512-256."""
    settings = {"identity": "digest"} | ({"digest_algorithms": algorithms} if algorithms else {})
    with site(tmp_path, settings) as balanced:
        add = ["user", "add", "alice@sip.test", "--db-url", balanced.redis.url]
        add += ["--digest-algorithms", algorithms] if algorithms else []
        assert run(*add, text=f"{PASSWORD}\n").returncode == 0
        phone = Linphone(tmp_path, "alice", f"sip:127.0.0.1:{balanced.port};transport=udp", PASSWORD)
        phone.start()
        try:
            phone.say("sip:tea@sip.test", "#create")
            phone.assert_gets(".*You have created.*")
        finally:
            phone.stop()


async def test_the_balancer_removes_an_identity_that_a_user_asserts(tmp_path: Path) -> None:
    """RFC 3325 §5: only an element that authenticated the user may assert an identity."""
    with site(tmp_path, {"identity": "asserted"}) as balanced:
        mallory = await SipUser.open("mallory", balanced.address)
        header = "P-Asserted-Identity: <sip:root@example.org>\r\n"
        response = await mallory.send("sip:tea@example.org", "#create", headers=header)
        assert (response.code, response.phrase) == (403, "No Asserted SIP Identity")
        mallory.close()


def test_imc_chat_registers_as_a_user_of_a_domain(balanced: Site) -> None:
    """Its address is not that of its socket: what it is sent comes by the registrar."""
    command = ["chat", "sip:alice@example.org", "--room", "sip:tea@example.org"]
    via = f"127.0.0.1:{balanced.port}"
    done = run(*command, "--via", via, "--wait", "10", text="#create\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert "*** You have created this public room." in done.stdout
    assert "alice@example.org" in run(*command, "--via", via, "--wait", "10", text="#list\n").stdout


def test_the_demo_logs_in_as_users_of_a_domain(tmp_path: Path) -> None:
    """Passwords, a registrar and a balancer in between; carol, who is away, catches up. No room is left."""
    with site(tmp_path, {"identity": "digest", "history_max_messages": "500"}) as balanced:
        for user in USERS:
            add = ("user", "add", f"{user}@example.org", "--db-url", balanced.redis.url)
            assert run(*add, text=f"{PASSWORD}\n").returncode == 0
        command = ["demo", "--via", f"127.0.0.1:{balanced.port}", "--user-domain", "example.org"]
        without = run(*command)
        assert (without.returncode, "use --login" in without.stderr) == (1, True), without.stderr
        done = run(*command, "--login", text=f"{PASSWORD}\n")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "(carol's phone is on again.)" in done.stdout
        with redis.Redis.from_url(balanced.redis.url) as db:
            assert db.keys("imc_rooms:*demo-*") == []
