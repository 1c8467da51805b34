"""NOTIFY and BYE to devices, as they go out, and what is recorded of them.

Covers notification.py (of imc_edge/conference) together with test_notification.py.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from imc_common.bodies.conference_info import ConferenceInfo
from imc_edge.delivering.outbound import PADDING
from tests.imc_edge.sending import ROOM, Sending, on_loopback

DEVICE = "bob@127.0.0.1;gr=urn:uuid:b0b"
GRUU = f"sip:{DEVICE}"
NOW_MS = 1_700_000_000_000


def dialog(**changes: Any) -> str:
    """What Redis keeps of Bob's subscription."""
    known = {
        "call_id": "c1@phone",
        "local_tag": "ours",
        "remote_tag": "theirs",
        "local_uri": f"sip:{ROOM}",
        "remote_uri": GRUU,
        "target": GRUU,
        "routes": [],
        "cseq": 4,
        "remote_cseq": 1,
        "expires_in": 600,
    }
    return json.dumps(known | changes)


def roster(**changes: Any) -> str:
    """What the script says has changed."""
    users = [["bob@127.0.0.1", "member", [DEVICE]], ["alice@127.0.0.1", "owner", []]]
    return json.dumps(
        {"full": True, "version": 1, "subject": "Lunch", "created_at": NOW_MS, "users": users} | changes
    )


@pytest.fixture
async def sending() -> AsyncIterator[Sending]:
    async with Sending() as running:
        yield running


async def test_a_notify_brings_the_roster_into_the_dialog(sending: Sending) -> None:
    """RFC 6665 §4.2.2: to the remote target, with all identifiers; its outcome goes to the worker."""
    entry_id = await sending.event("notify", (DEVICE,), dialog=dialog(), detail=roster())
    (sent,) = sending.wires.sent
    request = sent.request
    assert (request.method, request.uri) == ("NOTIFY", GRUU)
    assert request.headers.get("From") == f"<sip:{ROOM}>;tag=ours"
    assert request.headers.get("To") == f"<{GRUU}>;tag=theirs"
    assert request.call_id == "c1@phone"
    assert request.cseq.number == NOW_MS // 10 % 2**31
    assert request.headers.get("Event") == "conference"
    assert request.headers.get("Subscription-State") == "active;expires=600"
    assert request.headers.get("Contact") == f"<sip:{ROOM}>;isfocus"
    assert request.headers.get("Content-Type") == "application/conference-info+xml"
    info = ConferenceInfo.parse(request.body)
    assert (info.is_full, info.version, info.subject, info.created_at) == (True, 1, "Lunch", NOW_MS // 1000)
    assert [(user.uri, user.is_admin, user.devices) for user in info.users] == [
        ("sip:bob@127.0.0.1", False, (GRUU,)),
        ("sip:alice@127.0.0.1", True, ()),
    ]
    await sending.reply(sent)
    ((settled, *_, recipient, status, report),) = sending.redis.of("settle")
    assert (settled, recipient, status, report) == (entry_id, DEVICE, "200", "1")
    assert sending.deliver.in_flight() == 0


async def test_a_dialog_has_its_own_route(sending: Sending) -> None:
    """RFC 3261 §12.2.1.1: the first route is the next hop, the remote target stays in the Request-URI."""
    routes = ["<sip:127.0.0.9:5099;lr>", "<sip:127.0.0.8;lr>"]
    await sending.event("bye", (DEVICE,), dialog=dialog(routes=routes))
    (sent,) = sending.wires.sent
    assert (sent.request.method, sent.request.uri) == ("BYE", GRUU)
    assert (sent.hop.host, sent.hop.port) == ("127.0.0.9", 5099)
    assert sent.request.headers.get_all("Route") == routes
    await sending.reply(sent)
    assert sending.redis.of("settle")[0][-3:] == (DEVICE, "200", "1")


async def test_numbers_grow_in_a_dialog(sending: Sending) -> None:
    """Also within a hundredth of a second; each request waits for the response to the one before."""
    for _ in range(2):
        await sending.event("notify", (DEVICE,), dialog=dialog(), detail=roster())
    assert len(sending.wires.sent) == 1
    await sending.reply(sending.wires.sent[0])
    first, second = (sent.request.cseq.number for sent in sending.wires.sent)
    assert second == first + 1
    await sending.reply(sending.wires.sent[1])


@pytest.mark.parametrize("status", [481, 489, 500, 302, 488])
async def test_a_refusal_is_reported_as_it_is(sending: Sending, status: int) -> None:
    """A dialog has one remote target: a redirection leads nowhere."""
    await sending.event("notify", (DEVICE,), dialog=dialog(), detail=roster())
    await sending.reply(sending.wires.sent[0], status, "Contact: <sip:bob@127.0.0.7>")
    assert len(sending.wires.sent) == 1
    assert sending.redis.of("settle")[0][-3:] == (DEVICE, str(status), "1")


async def test_a_challenge_is_answered_in_the_dialog() -> None:
    """RFC 3261 §22.2: with the next CSeq, for this method and URI."""
    settings = on_loopback(credentials=["imc:secret@127.0.0.1"])
    async with Sending(settings) as sending:
        await sending.event("notify", (DEVICE,), dialog=dialog(), detail=roster())
        first = sending.wires.sent[0]
        await sending.reply(
            first, 401, 'WWW-Authenticate: Digest realm="127.0.0.1", nonce="n", algorithm=MD5'
        )
        again = sending.wires.sent[1].request
        assert (again.method, again.cseq.number) == ("NOTIFY", first.request.cseq.number + 1)
        assert f'uri="{GRUU}"' in (again.headers.get("Authorization") or "")
        await sending.reply(sending.wires.sent[1])


async def test_a_device_that_comes_back_gets_its_notify_again(sending: Sending) -> None:
    """It registers while the request waits for a response."""
    await sending.event("notify", (DEVICE,), dialog=dialog(routes=["<sip:127.0.0.9;lr>"]), detail=roster())
    await sending.pass_time(1.0)
    count = len(sending.wires.sent)
    sending.deliver.presence(b"online bob@127.0.0.1")
    await sending.settle_down()
    again = sending.wires.sent[count:]
    assert [(sent.request.method, sent.hop.host) for sent in again] == [("NOTIFY", "127.0.0.9")]
    await sending.reply(again[0])
    assert sending.deliver.in_flight() == 0


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("notify", {"dialog": "{", "detail": roster()}),
        ("notify", {"dialog": dialog(), "detail": "[]"}),
        ("bye", {"dialog": ""}),
        ("bye", {"dialog": dialog(call_id="x\r\nEvil: 1")}),
    ],
)
async def test_an_event_that_cannot_be_read_is_a_dead_letter(
    sending: Sending, name: str, fields: dict[str, str]
) -> None:
    """And the shard goes on."""
    await sending.event(name, (DEVICE,), **fields)
    await sending.until(lambda: len(sending.redis.of("move_to_dead_letters")) == 1)
    assert sending.wires.sent == []


async def test_a_device_that_no_request_can_name_fails_alone(sending: Sending) -> None:
    """Without an attempt."""
    await sending.event("bye", ("b<ob@127.0.0.1;gr=x",), dialog=dialog())
    await sending.event("bye", ("bob@127.0.0.1;gr=\u00e4",), dialog=dialog())
    assert sending.wires.sent == []
    assert all("unsendable" in args for args in sending.redis.of("settle"))


async def test_messages_to_devices_name_their_gruu(sending: Sending) -> None:
    """Linphone files a room under the To of its INVITE: the GRUU, or the user's address."""
    for device in (DEVICE, f"{DEVICE};aor"):
        await sending.event(to=(device,), client="device")
    by_gruu, by_aor = (sent.request for sent in sending.wires.sent)
    assert (by_gruu.uri, by_gruu.headers.get("To")) == (GRUU, f"<{GRUU}>")
    assert (by_aor.uri, by_aor.headers.get("To")) == (GRUU, "<sip:bob@127.0.0.1>")
    for request in (by_gruu, by_aor):
        assert request.headers.get("Session-mode") == "true"
        assert (request.headers.get("From") or "").startswith(f"<sip:{ROOM}>;tag=")
        assert request.headers.get("Content-Type") == "message/cpim"
        assert b"From: <sip:alice@example.org>" in request.body
    assert len({len(sent.data) % PADDING for sent in sending.wires.sent}) == 1  # they may go out together
    for sent in sending.wires.sent:
        await sending.reply(sent)


async def test_a_device_that_refuses_cpim_gets_no_text(sending: Sending) -> None:
    """There is no client of conferences without CPIM: 488 says that it does not know the room."""
    await sending.event(to=(DEVICE,), client="device")
    await sending.reply(sending.wires.sent[0], 488)
    assert len(sending.wires.sent) == 1
    assert "488" in sending.redis.of("settle")[0]
