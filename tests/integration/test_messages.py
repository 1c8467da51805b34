"""Plain messages to a room, and what a delivery looks like on the wire."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration.conftest import OpenUser
from tests.integration.sip_user import SipUser, notice
from tests.integration.test_commands import add, create, join, short
from tests.patience import PATIENCE

pytestmark = pytest.mark.integration


async def three(open_user: OpenUser, room: str) -> tuple[SipUser, SipUser, SipUser]:
    """alice, bob and carol in one public room."""
    alice, bob, carol = [await open_user(name) for name in ("alice", "bob", "carol")]
    await create(alice, room)
    await join(bob, room, alice)
    await join(carol, room, alice, bob)
    return alice, bob, carol


async def test_message_goes_to_every_other_member(open_user: OpenUser, room: str) -> None:
    """With the sender's prefix and display name, and never back to the sender."""
    alice, bob, carol = await three(open_user, room)
    await alice.say(room, "Grüße!")
    for one in (bob, carol):
        received = await one.assert_gets(f"<{alice.address}>: Grüße!")
        assert received.sender == short(room)
        assert "alice" in received.name
        assert received.content_type.startswith("text/plain")
    await alice.assert_gets_nothing()


async def test_messages_keep_their_order(open_user: OpenUser, room: str) -> None:
    """What several members say one after the other is read by all others in that order."""
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
async def test_non_member_is_refused_by_notice(open_user: OpenUser, room: str, private: bool) -> None:
    """The members hear nothing of it."""
    alice, dave = await open_user("alice"), await open_user("dave")
    await create(alice, room, private)
    await dave.say(room, "let me in")
    await dave.assert_gets(notice(short(room)))
    await alice.assert_gets_nothing()


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/html", b"#join <b>\xff\xfe</b>"),
        ("message/cpim", b"From: <im:a@x>\r\n\r\nContent-Type: text/plain\r\n\r\n#help"),
        ('multipart/mixed;boundary="b"', b"--b\r\n\r\n\x00\x01\r\n--b--"),
    ],
)
async def test_other_types_pass_byte_for_byte(
    open_user: OpenUser, room: str, content_type: str, body: bytes
) -> None:
    """No prefix, no command in it, the Content-Type as it was; the display name carries the sender."""
    alice, bob, _ = await three(open_user, room)
    await alice.say(room, body, content_type=content_type)
    received = await asyncio.wait_for(bob.inbox.get(), PATIENCE)
    assert received.body == body
    assert received.request.headers["Content-Type"] == content_type
    assert "alice" in received.name


async def test_delivery_is_a_request_of_its_own(open_user: OpenUser, room: str) -> None:
    """From the room, to the recipient, own Call-ID, one forward less, In-Reply-To with the request's."""
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
    """The same bytes twice, and once more with a new branch: the same answer, one delivery."""
    alice, bob, _ = await three(open_user, room)
    request = alice.request(room, "only once")
    first = await alice.transmit(request)
    again = alice.request_with_new_branch(request)
    second = await alice.transmit(again)
    assert (first.code, first.headers["To"]) == (second.code, second.headers["To"])
    await bob.assert_gets(".*: only once")
    await bob.assert_gets_nothing()


async def test_silent_member_is_sent_to_again_and_delays_nobody(open_user: OpenUser, room: str) -> None:
    """RFC 3261 §17.1.2: the delivery is repeated with the same Call-ID; others get theirs at once."""
    alice, bob, carol = await three(open_user, room)
    bob.answer = lambda _: None
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
    bob.answer = lambda _: 200
    await bob.assert_gets(".*: one")
    await bob.assert_gets(".*: two")


async def test_removed_member_gets_nothing_sent_after_the_removal(open_user: OpenUser, room: str) -> None:
    """Removal takes its turn like a message: what comes after it is not delivered."""
    alice, bob, carol = await three(open_user, room)
    for line in ("before", f"#remove sip:{bob.address}", "after"):
        await alice.say(room, line)
    await bob.assert_gets(".*: before")
    await bob.assert_gets(notice("removed"))
    await carol.assert_gets(".*: before")
    await carol.assert_gets(notice(bob.address, "has been removed"))
    await carol.assert_gets(".*: after")
    await bob.assert_gets_nothing()


async def test_many_members_get_it_across_chunks(open_user: OpenUser, room: str) -> None:
    """More members than delivery_chunk: every one of them gets the message, once."""
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
