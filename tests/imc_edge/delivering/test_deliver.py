"""Events become MESSAGE requests: bodies, order, limits of notices, expiry, drain.

Also covers counts.py, delivery_context.py, event_renderer.py, outgoing.py and wiring.py.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from imc_common.rooms.request import RequestData
from imc_edge.delivering.notice_limit import BURST
from tests.imc_edge.sending import ROOM, Sending, Sent, entry, on_loopback
from tests.patience import PATIENCE

BOB = "bob@127.0.0.1:5071"
CAROL = "carol@127.0.0.1:5072"


def bodies(sent: list[Sent], recipient: str) -> list[bytes]:
    """What went to one recipient, in order."""
    return [each.request.body for each in sent if each.recipient == recipient]


def text(body: str) -> RequestData:
    """The data of a plain message."""
    return RequestData("text/html", body.encode(), max_forwards=69)


async def test_an_event_goes_to_every_recipient_and_is_settled_after_all_responses() -> None:
    """One MESSAGE each; one `settle_delivered` once the last 2xx is in."""
    async with Sending() as sending:
        entry_id = await sending.event(to=(BOB, CAROL))
        assert [sent.recipient for sent in sending.wires.sent] == [BOB, CAROL]
        assert [(sent.hop.transport, sent.hop.port) for sent in sending.wires.sent] == [
            ("udp", 5071),
            ("udp", 5072),
        ]
        await sending.reply(sending.wires.sent[0])
        assert sending.redis.ran == []
        assert sending.deliver.in_flight(3) == 1
        await sending.reply(sending.wires.sent[1])
        assert sending.redis.ran == [("settle_delivered", ("imc:{3}:out",), (entry_id,))]
        assert sending.deliver.in_flight() == 0


async def test_rfc_3428_8_one_message_in_flight_per_recipient_in_order() -> None:
    """The next goes out after the response to the one before, whatever room or shard it comes from."""
    async with Sending() as sending:
        await sending.event(to=(BOB, CAROL), data=text("1"))
        await sending.event(to=(BOB,), shard=7, data=text("2"))
        await sending.event(to=(BOB, CAROL), data=text("3"))
        assert bodies(sending.wires.sent, BOB) == [b"1"]
        assert bodies(sending.wires.sent, CAROL) == [b"1"]
        await sending.reply(sending.wires.sent[0])
        assert bodies(sending.wires.sent, BOB) == [b"1", b"2"]
        assert bodies(sending.wires.sent, CAROL) == [b"1"]
        await sending.reply(sending.wires.sent[2], 500)
        assert bodies(sending.wires.sent, BOB) == [b"1", b"2", b"3"]


async def test_notices_of_refusals_to_one_sender_are_rate_limited() -> None:
    """Those over the limit are left out; their events end all the same."""
    async with Sending() as sending:
        for _ in range(BURST + 5):
            await sending.event("refused", (BOB,), reason="not_member", command="message")
        while sending.deliver.in_flight():
            await sending.reply(sending.wires.sent[-1])
        assert len(sending.wires.sent) == BURST


async def test_the_notice_of_an_exceeded_limit_is_never_left_out() -> None:
    """It comes once a minute; without it the sender would not know the reason."""
    async with Sending() as sending:
        for _ in range(BURST + 5):
            await sending.event("refused", (BOB,), reason="not_member", command="message")
        await sending.event("refused", (BOB,), reason="too_many_commands", command="list", detail="7")
        while sending.deliver.in_flight():
            await sending.reply(sending.wires.sent[-1])
        assert len(sending.wires.sent) == BURST + 1
        assert b"sending commands too fast" in sending.wires.sent[-1].request.body


async def test_a_refusal_that_is_left_out_is_not_rendered() -> None:
    """A limit is checked before the work that it limits: this one could not be rendered."""
    broken = replace(text("hello"), headers=(("Not a header", "value"),))
    async with Sending() as sending:
        for _ in range(BURST):
            await sending.event("refused", (BOB,), reason="not_member", command="message")
        await sending.event("refused", (BOB,), reason="not_member", command="message", data=broken)
        await sending.until(lambda: sending.deliver.in_flight() == BURST)
        assert sending.redis.of("move_to_dead_letters") == []
        await sending.event("refused", (CAROL,), reason="not_member", **{"from": CAROL, "data": broken})
        assert len(sending.redis.of("move_to_dead_letters")) == 1


async def test_a_long_list_is_sent_page_after_page() -> None:
    """The second MESSAGE of an event waits for the response to the first; the event ends with the last."""
    members = " ".join(f"member:user{n:04}@a-long-enough-domain.example.org" for n in range(40))
    async with Sending() as sending:
        await sending.event("members", (BOB,), list=members)
        pages = 1
        while sending.deliver.in_flight():
            assert len(sending.wires.sent) == pages
            assert f"part {pages} of".encode() in sending.wires.sent[-1].request.body
            await sending.reply(sending.wires.sent[-1])
            pages += 1
        assert pages > 2
        assert len({sent.request.call_id for sent in sending.wires.sent}) == pages - 1
        assert len(sending.redis.of("settle_delivered")) == 1


async def test_rfc_3428_7_an_expired_message_is_not_sent() -> None:
    """Neither at once nor from the queue."""
    async with Sending() as sending:
        now_ms = int(sending.clock.wall() * 1000)
        await sending.event(
            to=(BOB,),
            data=RequestData("text/plain", b"old", max_forwards=69, display_name="", expires_at=now_ms - 1),
        )
        assert sending.wires.sent == []
        assert sending.redis.of("settle")[0][5:] == (BOB, "expired", "0")
        await sending.event(to=(BOB,), data=text("first"))
        await sending.event(
            to=(BOB,),
            data=RequestData(
                "text/plain", b"late", max_forwards=69, display_name="", expires_at=now_ms + 10_000
            ),
        )
        sending.clock.now += 11
        await sending.reply(sending.wires.sent[0])
        assert bodies(sending.wires.sent, BOB) == [b"first"]
        assert sending.redis.of("settle")[1][5:] == (BOB, "expired", "0")


@pytest.mark.parametrize("hours", [-1, 1])
async def test_expires_does_not_depend_on_two_clocks_that_agree(hours: int) -> None:
    """The clock of the edge that accepted the message is an hour off ours."""
    async with Sending() as sending:
        at = int(sending.clock.wall() * 1000) + hours * 3_600_000
        for name in (b"in time", b"late"):
            await sending.event(
                to=(BOB,),
                at=at,
                data=RequestData("text/x", name, max_forwards=69, display_name="", expires_at=at + 60_000),
            )
        assert bodies(sending.wires.sent, BOB) == [b"in time"]
        sending.clock.now += 61
        await sending.reply(sending.wires.sent[0])
        assert bodies(sending.wires.sent, BOB) == [b"in time"]
        assert sending.redis.of("settle")[-1][5:] == (BOB, "expired", "0")


async def test_a_recipient_with_an_invalid_address_fails_alone() -> None:
    """The others get the message."""
    async with Sending() as sending:
        await sending.event(to=("no-address", BOB))
        await sending.reply(sending.wires.sent[0])
        assert set(sending.redis.of("settle")[0][5:]) >= {"no-address", "unsendable", BOB, "200"}


async def test_an_event_that_cannot_be_rendered_is_a_dead_letter_at_once() -> None:
    """The shard goes on, and is not read again for it."""
    async with Sending(on_loopback(max_attempts=3)) as sending:
        await sending.feed("7-0", entry("no such event", to=(BOB,)))
        await sending.event(to=("user@127.0.0.1",))
        assert sending.stream.resynced == []
        ((entry_id, reason, _),) = sending.redis.of("move_to_dead_letters")
        assert entry_id == "7-0"
        assert "no such event" in reason
        assert len(sending.wires.sent) == 1
        assert sending.deliver.in_flight() == 1


async def test_an_event_of_a_room_with_an_invalid_address_is_a_dead_letter() -> None:
    """Its MESSAGE would be malformed."""
    async with Sending(on_loopback(max_attempts=3)) as sending:
        await sending.feed("7-0", entry(to=(BOB,), room="chat\r\nX: 1@example.org"))
        assert len(sending.redis.of("move_to_dead_letters")) == 1
        assert sending.wires.sent == []


async def test_drain_reads_no_more_events_and_ends_after_the_last_response() -> None:
    """And not before."""
    async with Sending() as sending:
        await sending.event(to=(BOB,))
        draining = asyncio.create_task(sending.deliver.drain(sending.clock() + 32))
        await sending.settle_down()
        await sending.event(to=(CAROL,))
        assert bodies(sending.wires.sent, CAROL) == []
        assert not draining.done()
        await sending.reply(sending.wires.sent[0])
        await asyncio.wait_for(draining, PATIENCE)
        assert sending.deliver.in_flight() == 0


async def test_drain_ends_at_its_deadline_and_records_what_is_known() -> None:
    """The next owner sends to the others only."""
    async with Sending() as sending:
        await sending.event(to=(BOB, CAROL))
        draining = asyncio.create_task(sending.deliver.drain(sending.clock() + 1))
        await sending.reply(sending.wires.sent[0])
        sending.clock.now += 2
        await asyncio.wait_for(draining, PATIENCE)
        (args,) = sending.redis.of("settle")
        assert (args[1], args[5:]) == (0, (BOB, "200", "0"))


async def test_the_from_of_a_delivery_is_the_room() -> None:
    """RFC 3261 §8.1.1.3: the recipient replies to the room."""
    async with Sending() as sending:
        await sending.event(to=(BOB,))
        assert sending.wires.sent[0].request.from_.uri.address() == ROOM
