"""Kamailio as load balancer of two edges, as registrar, and as outbound proxy of deliveries."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.integration.command import run
from tests.integration.login import PASSWORD, credentials
from tests.integration.peers.kamailio import Site, site
from tests.integration.sip_user import SipUser

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
        await user.assert_gets(".*has joined.*")
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
    await bob.assert_gets(".*bob@example.org has joined.*")
    await alice.say(room, "hello", sender="alice@example.org")
    received = await bob.assert_gets("<alice@example.org>: hello")
    assert received.request.uri.port == bob.port, "the Request-URI is the registered contact"


async def register(user: SipUser) -> None:
    """Register the user's socket as the contact of ``NAME@example.org``."""
    contact = f"Contact: <sip:{user.name}@127.0.0.1:{user.port}>\r\n"
    where = f"sip:{user.name}@example.org"
    response = await user.send(where, b"", method="REGISTER", headers=contact, sender=where[4:])
    assert response.code == 200


async def test_digest_authentication_works_through_the_balancer(tmp_path: Path) -> None:
    """Challenge and credentials pass unchanged and may go through different edges."""
    with site(tmp_path, {"identity": "digest"}) as balanced:
        user = ("user", "add", "alice@127.0.0.1", "--db-url", balanced.redis.url)
        done = await asyncio.to_thread(run, *user, text=f"{PASSWORD}\n")
        assert done.returncode == 0, done.stderr
        alice = await SipUser.open("alice", balanced.address)
        room = "sip:tea@example.org"
        for line, told in (("#create", ".*You have created.*"), ("#list", ".*Members.*")) * 3:
            challenged = await alice.send(room, line)
            assert challenged.code == 401
            login = credentials(challenged, "alice", room, "SHA-256")
            assert (await alice.send(room, line, headers=login)).code == 202
            await alice.assert_gets(told if line == "#list" else ".*")
        alice.close()


async def test_the_balancer_removes_an_identity_that_a_user_asserts(tmp_path: Path) -> None:
    """RFC 3325 §5: only an element that authenticated the user may assert an identity."""
    with site(tmp_path, {"identity": "asserted"}) as balanced:
        mallory = await SipUser.open("mallory", balanced.address)
        header = "P-Asserted-Identity: <sip:root@example.org>\r\n"
        response = await mallory.send("sip:tea@example.org", "#create", headers=header)
        assert (response.code, response.phrase) == (403, "No Asserted SIP Identity")
        mallory.close()
