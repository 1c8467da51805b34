"""Messages to a room, and the deliveries on the wire."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration.conftest import OpenUser
from tests.integration.room_steps import add, create, join, short
from tests.integration.sip_user import SipUser, notice
from tests.patience import PATIENCE

pytestmark = [pytest.mark.integration, pytest.mark.compiled]


async def three(open_user: OpenUser, room: str) -> tuple[SipUser, SipUser, SipUser]:
    """alice, bob and carol in one public room."""
    alice, bob, carol = [await open_user(name) for name in ("alice", "bob", "carol")]
    await create(alice, room)
    await join(bob, room, alice)
    await join(carol, room, alice, bob)
    return alice, bob, carol


async def test_message_goes_to_every_other_member(open_user: OpenUser, room: str) -> None:
    """With the sender's prefix and display name, and not back to the sender."""
    alice, bob, carol = await three(open_user, room)
    await alice.say(room, "Grüße!")
    for one in (bob, carol):
        received = await one.assert_gets(f"<{alice.address}>: Grüße!")
        assert received.sender == short(room)
        assert "alice" in received.name
        assert received.content_type.startswith("text/plain")
    await alice.assert_gets_nothing()


async def test_messages_keep_their_order(open_user: OpenUser, room: str) -> None:
    """All members receive the messages of several senders in the order in which they were sent."""
    alice, bob, carol = await three(open_user, room)
    said = []
    for number in range(20):
        speaker = (alice, bob)[number % 2]
        await speaker.say(room, f"line {number}")
        said.append(f"<{speaker.address}>: line {number}")
    for line in said:
        await carol.assert_gets(line)
    await alice.until(lambda texts: said[-1] in texts)
    assert [one.text for one in alice.drain()] == said[1::2]


@pytest.mark.parametrize("private", [False, True])
async def test_a_non_member_gets_a_notice_and_members_get_nothing(
    open_user: OpenUser, room: str, private: bool
) -> None:
    """In a public and in a private room."""
    alice, dave = await open_user("alice"), await open_user("dave")
    await create(alice, room, private)
    await dave.say(room, "let me in")
    await dave.assert_gets(notice("Your message was not delivered"))
    await alice.assert_gets_nothing()


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/html", b"join <b>\xff\xfe</b>"),
        ("message/cpim", b"From: <sip:ALICE>\r\n\r\nContent-Type: text/plain\r\n\r\nhelp"),
        ('multipart/mixed;boundary="b"', b"--b\r\n\r\n\x00\x01\r\n--b--"),
    ],
)
async def test_bodies_of_other_types_are_delivered_unchanged(
    open_user: OpenUser, room: str, content_type: str, body: bytes
) -> None:
    """No prefix is added; the display name names the sender. ALICE stands for the sender's address."""
    alice, bob, _ = await three(open_user, room)
    body = body.replace(b"ALICE", alice.address.encode())
    await alice.say(room, body, content_type=content_type)
    received = await asyncio.wait_for(bob.inbox.get(), PATIENCE)
    assert received.body == body
    assert received.request.headers["Content-Type"] == content_type
    assert "alice" in received.name


async def test_delivery_is_a_new_request_from_the_room(open_user: OpenUser, room: str) -> None:
    """It has a new Call-ID, one hop less in Max-Forwards, and In-Reply-To with the Call-ID of the request."""
    alice, bob, carol = await three(open_user, room)
    request = alice.request(room, "hi").replace(b"Max-Forwards: 70", b"Max-Forwards: 9")
    response = await alice.transmit(request)
    assert response.code == 202
    got = [(await one.assert_gets(".*: hi")).request for one in (bob, carol)]
    for one, delivery in zip((bob, carol), got, strict=True):
        assert str(delivery.uri) == f"sip:{one.address}"
        assert f"sip:{short(room)}" in delivery.headers["From"]
        assert f"sip:{one.address}" in delivery.headers["To"]
        assert delivery.max_forwards == 8
        assert delivery.in_reply_to == [response.call_id]
        assert delivery.call_id != response.call_id
        assert delivery.headers.get("Contact") is None, "RFC 3428 §4: no Contact in a MESSAGE"
    assert got[0].call_id != got[1].call_id


async def test_retransmitted_request_is_one_message(open_user: OpenUser, room: str) -> None:
    """A retry with a new branch gets the same response and causes no second delivery."""
    alice, bob, _ = await three(open_user, room)
    request = alice.request(room, "only once")
    first = await alice.transmit(request)
    again = alice.request_with_new_branch(request)
    second = await alice.transmit(again)
    assert (first.code, first.headers["To"]) == (second.code, second.headers["To"])
    await bob.assert_gets(".*: only once")
    await bob.assert_gets_nothing()


async def test_a_member_that_does_not_respond_gets_retransmissions_and_delays_nobody(
    open_user: OpenUser, room: str
) -> None:
    """RFC 3261 §17.1.2: retransmissions have the same Call-ID. Other members get their messages at once."""
    alice, bob, carol = await three(open_user, room)
    bob.status_for = lambda _: None
    await alice.say(room, "one")
    await carol.assert_gets(".*: one")
    await alice.say(room, "two")
    await carol.assert_gets(".*: two")
    calls: list[str] = []
    while len(calls) < 3:
        await asyncio.sleep(0.1)
        calls = [call for call, body in bob.arrivals if body.endswith(": one")]
    assert len(set(calls)) == 1
    assert not any(body.endswith(": two") for _, body in bob.arrivals), "RFC 3428 §8: one in flight"
    bob.status_for = lambda _: 200
    await bob.assert_gets(".*: one")
    await bob.assert_gets(".*: two")


async def test_removed_member_gets_nothing_sent_after_the_removal(open_user: OpenUser, room: str) -> None:
    """A removal is ordered like a message: a removed member gets nothing that was sent after it."""
    alice, bob, carol = await three(open_user, room)
    for line in ("before", f"#remove sip:{bob.address}", "after"):
        await alice.say(room, line)
    await bob.assert_gets(".*: before")
    await bob.assert_gets(notice("has removed you"))
    await carol.assert_gets(".*: before")
    await carol.assert_gets(notice(bob.address, "has removed"))
    await carol.assert_gets(".*: after")
    await bob.assert_gets_nothing()


async def test_each_member_of_a_room_larger_than_delivery_chunk_gets_a_message_once(
    open_user: OpenUser, room: str
) -> None:
    """70 members in several events."""
    alice = await open_user("alice")
    await create(alice, room)
    members = []
    for number in range(70):
        member = await open_user(f"m{number}")
        await add(alice, member, room, *members)
        members.append(member)
    await alice.say(room, "to all")
    for member in members:
        await member.assert_gets(f"<{alice.address}>: to all")
        assert member.inbox.empty()
