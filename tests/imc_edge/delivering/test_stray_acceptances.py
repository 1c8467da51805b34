"""2xx responses to an INVITE of which this process knows nothing (RFC 3261 §13.2.2.4)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from imc_edge.delivering import invitations as module
from imc_edge.delivering.invitations import CONFIRM_SECONDS
from tests.imc_edge.delivering.test_dialog_request import DEVICE, GRUU
from tests.imc_edge.delivering.test_invitations import BOB, CONTACT, ROUTE, invite, methods, reports
from tests.imc_edge.sending import Sending, Sent

OTHER = f"{BOB};gr=urn:uuid:2"
TABLET = f"Contact: <sip:{OTHER}>"


@pytest.fixture
async def sending() -> AsyncIterator[Sending]:
    async with Sending() as running:
        yield running


async def sent_by_another_edge(to: str = BOB, **fields: Any) -> Sent:
    """An INVITE of an edge that is gone."""
    async with Sending() as other:
        return await invite(other, to, **fields)


async def receive(sending: Sending, data: bytes) -> None:
    sending.deliver.response(data)
    await sending.settle_down()


def invited(sending: Sending, name: str = BOB, event: bytes | None = b"1-0", **more: bytes | None) -> None:
    """What Redis has of the user."""
    sending.redis.about = {f"invitation:{name}": event, f"joined:{BOB}": b"1-0", **more}


async def test_a_device_whose_edge_is_gone_is_acknowledged_and_let_in(sending: Sending) -> None:
    """The INVITE was forked, and another device has ended its event. Each copy of the 200 gets an ACK."""
    sent = await sent_by_another_edge()
    invited(sending)
    for _ in range(2):
        await receive(sending, sent.response(200, TABLET, ROUTE))
    assert methods(sending) == ["ACK", "ACK"]
    ack = sending.wires.sent[0]
    assert (ack.request.uri, ack.hop.host, ack.request.cseq.number) == (f"sip:{OTHER}", "127.0.0.9", 1)
    assert ack.request.to_tag == "there"
    (report,) = reports(sending)
    assert (report["event"], report["status"], report["of"]) == ("invite", "200", "1-0")
    assert (report["from"], report["device"]) == (BOB, OTHER)
    assert json.loads(report["dialog"])["remote_tag"] == "there"


async def test_a_report_that_is_not_written_at_once_waits_for_the_next_2xx(
    sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then, the device may have accepted the INVITE of another edge, and have ended this session."""
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.001)
    sent = await sent_by_another_edge()
    invited(sending)
    sending.redis.has_replica = False
    await receive(sending, sent.response(200, TABLET, ROUTE))
    sending.clock.now += 4.1
    await sending.until(lambda: not sending.deliver._invitations._reports)
    sending.redis.has_replica = True
    await sending.settle_down()
    assert methods(sending) == []
    await receive(sending, sent.response(200, TABLET, ROUTE))
    assert methods(sending) == ["ACK"]


async def test_a_telephone_whose_edge_is_gone_gets_bye(sending: Sending) -> None:
    """It has answered by itself, with an offer."""
    sent = await sent_by_another_edge()
    invited(sending)
    data = sent.response(200, TABLET, ROUTE, "Content-Type: application/sdp")
    await receive(sending, data.replace(b"Content-Length: 0\r\n\r\n", b"Content-Length: 3\r\n\r\nv=0"))
    assert methods(sending) == ["ACK", "BYE"]
    assert reports(sending) == []


async def test_the_report_is_the_one_of_the_edge_that_is_gone() -> None:
    """So Redis knows it, if that edge has written it."""
    digests = []
    for is_stray in (False, True):
        async with Sending() as sending:
            sent = await sent_by_another_edge() if is_stray else await invite(sending)
            invited(sending)
            await receive(sending, sent.response(200, TABLET, ROUTE))
            await sending.pass_time(CONFIRM_SECONDS + 0.1)
            digests += [args[3] for args in sending.redis.of("accept_many")]
    assert digests[:2] == digests[2:], "of the acceptance, and of the ACK"


@pytest.mark.parametrize("by", [BOB, DEVICE])
async def test_a_device_that_was_invited_by_its_name_is_let_in(sending: Sending, by: str) -> None:
    """Alone, or because a proxy has redirected the INVITE to its user."""
    async with Sending() as other:
        sent = await invite(other, by)
        if by == BOB:
            await other.reply(sent, 302, f"Contact: <{GRUU}>")
            sent = other.wires.sent[-1]
    invited(sending, by)
    await receive(sending, sent.response(200, CONTACT))
    assert methods(sending) == ["ACK"]
    assert [(report["from"], report["device"]) for report in reports(sending)] == [(DEVICE, DEVICE)]


@pytest.mark.parametrize("name", [DEVICE, f"{DEVICE};aor"])
async def test_a_device_that_is_in_the_room_only_gets_its_ack(sending: Sending, name: str) -> None:
    """The ACK has got lost, and the worker has let it in."""
    sent = await sent_by_another_edge(DEVICE)
    made = {"call_id": sent.request.call_id, "local_tag": "l", "remote_tag": "there"}
    made |= {"local_uri": "sip:r@e", "remote_uri": "sip:b@e", "target": "sip:b@e"}
    invited(sending, DEVICE, None, **{f"dialog:{name}": json.dumps(made).encode()})
    await receive(sending, sent.response(200, CONTACT))
    assert methods(sending) == ["ACK"]
    assert reports(sending) == []


@pytest.mark.parametrize(
    ("value", "event", "joined"),
    [
        (None, b"1-0", b"1-0"),
        (b"member inviting", b"2-0", b"2-0"),
        (b"member", None, None),
        (b"invited", b"1-0", None),
    ],
)
async def test_who_accepts_what_does_not_count_any_more_gets_no_ack(
    sending: Sending, value: bytes | None, event: bytes | None, joined: bytes | None
) -> None:
    """The user was removed, and perhaps added again. The device ends its session (RFC 3261 §13.3.1.4)."""
    sent = await sent_by_another_edge()
    sending.redis.members[BOB] = value
    invited(sending, BOB, event, **{f"joined:{BOB}": joined})
    await receive(sending, sent.response(200, TABLET))
    assert (methods(sending), reports(sending)) == ([], [])


async def test_a_client_without_gruu_gets_a_bye(sending: Sending) -> None:
    """It is no client of conferences."""
    invited(sending)
    await receive(sending, (await sent_by_another_edge()).response(200, "Contact: <sip:bob@127.0.0.1>"))
    assert methods(sending) == ["ACK", "BYE"]


async def test_what_no_edge_has_invited_is_dropped(sending: Sending) -> None:
    """Nobody but edges can make such a Call-ID; and nothing is asked of Redis."""
    sent = await sent_by_another_edge()
    good = sent.response(200, TABLET)
    call_id = sent.request.call_id.encode()
    sending.redis.about = {}
    for data in (
        good.replace(call_id, b"0" * 32),
        good.replace(b"Call-ID: " + call_id, b"Call-ID: " + call_id[::-1]),
        good.replace(f"To: <sip:{BOB}>".encode(), b"To: <sip:mallory@127.0.0.1>"),
        good.replace(b"z9hG4bK" + call_id, b"z9hG4bK" + call_id[::-1]),
        good.replace(b" INVITE\r\n", b" MESSAGE\r\n"),
        good.replace(b"SIP/2.0 200", b"SIP/2.0 180"),
        good.replace(b"SIP/2.0 200", b"SIP/2.0 486"),
        good.replace(TABLET.encode() + b"\r\n", b""),
        good.replace(b"Contact: <sip:", b"Contact: <tel:"),
        good.replace(b"From: ", b"Frm: "),
    ):
        assert data != good
        await receive(sending, data)
    assert methods(sending) == []


async def test_while_redis_is_unreachable_the_next_copy_counts(sending: Sending) -> None:
    sent = await sent_by_another_edge()
    invited(sending)
    sending.redis.unreachable = True
    await receive(sending, sent.response(200, TABLET))
    assert methods(sending) == []
    sending.redis.unreachable = False
    await receive(sending, sent.response(200, TABLET))
    assert methods(sending) == ["ACK"]
