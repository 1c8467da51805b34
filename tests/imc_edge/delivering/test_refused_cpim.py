"""A client that refuses message/cpim gets the text in it, as a part of the same delivery."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imc_common.bodies.cpim import Cpim
from imc_common.rooms.delivery_reports import AS_TEXT
from imc_common.rooms.request import RequestData
from imc_edge.identifiers import DeliveryIds
from tests.imc_common.bodies.corpus import IMDN_DOCUMENT, LINPHONE, RFC_5438_7_2
from tests.imc_edge.sending import ROOM, Sending, on_loopback

BOB, CAROL = "bob@127.0.0.1:5071", "carol@127.0.0.1:5072"
CPIM = RequestData("message/cpim", LINPHONE, max_forwards=69, call_id="c1", at=1_700_000_000_000)


def outcomes(sending: Sending) -> list[tuple[str, ...]]:
    """Recipients, outcomes, and whether the worker is told, as they were settled."""
    return [args[5:] for args in sending.redis.of("settle")]


@pytest.mark.parametrize("status", [406, 415, 488])
async def test_the_text_follows_at_once_in_the_same_delivery(status: int) -> None:
    """The same Call-ID and From tag, the next CSeq, another branch. The worker is told, and remembers it."""
    async with Sending() as sending:
        await sending.event(to=(BOB,), data=CPIM)
        first = sending.wires.sent[0]
        assert first.request.headers.get("Content-Type") == "message/cpim"
        await sending.reply(first, status)
        second = sending.wires.sent[1]
        assert second.request.headers.get("Content-Type") == "text/plain"
        assert second.request.body == b"<alice@example.org>: one"
        assert second.request.call_id == first.request.call_id
        assert second.request.headers.get("From") == first.request.headers.get("From")
        assert (first.request.cseq.number, second.request.cseq.number) == (1, 2)
        assert first.request.via.branch != second.request.via.branch
        await sending.reply(second)
        assert outcomes(sending) == [(BOB, AS_TEXT, "1")]


@pytest.mark.parametrize("catch_up", ["", "part", "replay"])
async def test_the_text_has_the_same_identity_by_every_way(catch_up: str) -> None:
    """Sent to whoever has just refused CPIM, or is known to, now or from the history, challenged or not."""
    async with Sending(on_loopback(history_max_messages=500)) as sending:
        await sending.event(to=(BOB,), data=CPIM)
        await sending.reply(sending.wires.sent[0], 415)
        await sending.reply(sending.wires.sent[1])
        await sending.event(to=(BOB,), data=CPIM, client="text", history_id="1-0", catch_up=catch_up)
        await sending.reply(sending.wires.sent[2], 503, "Retry-After: 0")
        texts = [each.request for each in sending.wires.sent[1:]]
        assert [each.body for each in texts[:2]] == [b"<alice@example.org>: one"] * 2
        identities = {(each.call_id, str(each.cseq), each.headers.get("From")) for each in texts}
        assert len(identities) == 1
        assert texts[0].cseq.number == 2


async def test_a_text_that_was_wrapped_follows_as_it_came() -> None:
    """A client may send CPIM and refuse it from others: Linphone does outside of group chats."""
    async with Sending() as sending:
        await sending.event(
            to=(BOB,), data=RequestData("text/plain", b"hello", max_forwards=69), client="cpim"
        )
        assert sending.wires.sent[0].request.headers.get("Content-Type") == "message/cpim"
        await sending.reply(sending.wires.sent[0], 488)
        second = sending.wires.sent[1].request
        assert (second.headers.get("Content-Type"), second.body) == (
            "text/plain",
            b"<alice@example.org>: hello",
        )
        await sending.reply(sending.wires.sent[1])
        assert outcomes(sending) == [(BOB, AS_TEXT, "1")]


async def test_a_receipt_in_cpim_follows_as_its_document() -> None:
    """Otherwise the author would never see that a message was read."""
    async with Sending() as sending:
        data = RequestData("message/cpim", RFC_5438_7_2, max_forwards=69)
        await sending.event("disposition", to=(BOB,), data=data, list="34jk324j", client="cpim")
        assert sending.wires.sent[0].request.headers.get("Content-Type") == "message/cpim"
        await sending.reply(sending.wires.sent[0], 488)
        second = sending.wires.sent[1].request
        assert (second.headers.get("Content-Type"), second.body) == ("message/imdn+xml", IMDN_DOCUMENT)


async def test_the_others_get_cpim_and_nobody_gets_it_twice() -> None:
    """One refuses it, one does not."""
    async with Sending() as sending:
        await sending.event(to=(BOB, CAROL), data=CPIM)
        to_bob, to_carol = sending.wires.sent
        await sending.reply(to_bob, 415)
        await sending.reply(to_carol)
        await sending.reply(sending.wires.sent[2])
        assert [each.recipient for each in sending.wires.sent] == [BOB, CAROL, BOB]
        assert outcomes(sending) == [(CAROL, "200", "0", BOB, AS_TEXT, "1")]


async def test_who_refuses_the_text_too_has_refused_the_message() -> None:
    """It is sent twice at most."""
    async with Sending() as sending:
        await sending.event(to=(BOB,), data=CPIM)
        await sending.reply(sending.wires.sent[0], 415)
        await sending.reply(sending.wires.sent[1], 415)
        assert len(sending.wires.sent) == 2
        assert outcomes(sending) == [(BOB, "415", "0")]


@pytest.mark.parametrize(
    ("name", "data", "fields"),
    [
        ("message", RequestData("text/plain", b"x", max_forwards=69), {}),
        ("message", RequestData("image/png", b"x", max_forwards=69), {}),
        ("message", CPIM, {"client": "text"}),
        ("typing", CPIM, {}),
    ],
)
async def test_there_is_no_other_form_of(name: str, data: RequestData, fields: dict[str, str]) -> None:
    """What is no message in CPIM."""
    async with Sending() as sending:
        await sending.event(name, to=(BOB,), data=data, **fields)
        await sending.reply(sending.wires.sent[0], 415)
        assert len(sending.wires.sent) == 1
        assert outcomes(sending) == [(BOB, "415", "0")]


async def test_a_recipient_whose_client_is_known_gets_its_form_at_once() -> None:
    """Both kinds."""
    async with Sending() as sending:
        await sending.event(to=(BOB,), data=CPIM, client="text")
        await sending.event(
            to=(CAROL,), data=RequestData("text/plain", b"hello", max_forwards=69), client="cpim"
        )
        text, cpim = (each.request for each in sending.wires.sent)
        assert (text.headers.get("Content-Type"), text.body) == ("text/plain", b"<alice@example.org>: one")
        assert cpim.headers.get("Content-Type") == "message/cpim"
        assert cpim.body.endswith(b"\r\n\r\nhello")


async def test_the_text_is_there_also_when_the_refusal_comes_late() -> None:
    """After the event's data was given up for memory."""
    async with Sending() as sending:
        await sending.event(to=(BOB,), data=CPIM)
        await sending.pass_time(2.0)
        await sending.reply(sending.wires.sent[0], 415)
        assert sending.wires.sent[-1].request.body == b"<alice@example.org>: one"


async def test_a_part_that_cannot_stand_in_a_sip_message_stops_nobody() -> None:
    """Its type is not passed on; the others get the message as it is."""
    body = LINPHONE.replace(b"Content-Type: text/plain", b"Content-Type: a/b\x00\xff")
    async with Sending() as sending:
        await sending.event(to=(BOB,), data=replace(CPIM, body=body), client="text")
        (sent,) = sending.wires.sent
        assert sent.request.headers.get("Content-Type") == "application/octet-stream"


async def test_a_receipt_for_a_delivery_leads_to_its_place_in_a_room_with_history() -> None:
    """Its Call-ID has the place, and so has the Message-ID of a wrapped message."""
    async with Sending(on_loopback(history_max_messages=500)) as sending:
        ids = DeliveryIds(sending.redis.secret)
        for client in ("", "cpim"):
            entry_id = await sending.event(to=(BOB,), client=client)
            request = sending.wires.sent[-1].request
            named = request.call_id
            if client:
                named = Cpim.parse(request.body).envelope.message_id
            assert ids.position_in(named, ROOM, BOB) == entry_id
            assert (ids.position_in(named, ROOM, CAROL) == entry_id) == bool(client)
            assert request.from_tag == request.call_id.partition(".")[0]
            await sending.reply(sending.wires.sent[-1])


async def test_without_history_or_receipts_the_call_id_is_short() -> None:
    """It could not lead anywhere."""
    for settings in ({}, {"history_max_messages": 500, "receipts": "none"}):
        async with Sending(on_loopback(**settings)) as sending:
            await sending.event(to=(BOB,))
            assert "." not in sending.wires.sent[-1].request.call_id
