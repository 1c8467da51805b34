"""INVITEs that an edge before has sent, and that devices have accepted (RFC 3261 §13.2.2.4)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from imc_common import keys
from imc_common.store import ReplyError
from imc_edge.delivering import invitations
from tests.imc_edge.delivering.test_dialog_request import DEVICE, GRUU
from tests.imc_edge.delivering.test_invitations import (
    BOB,
    OTHER,
    accept,
    confirmations,
    invite,
    methods,
    outcomes,
    reports,
)
from tests.imc_edge.sending import Sending, Sent, entry


@pytest.fixture
async def sending(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sending]:
    monkeypatch.setattr(invitations, "TURN_SECONDS", 0.001)
    async with Sending() as running:
        yield running


async def accepted_at_another_edge(to: str) -> bytes:
    """The dialog that the other edge has reported."""
    async with Sending() as other:
        await accept(other, await invite(other, to))
        (report,) = reports(other)
        return str(report["dialog"]).encode()


@pytest.mark.parametrize("to", [BOB, DEVICE])
async def test_who_has_accepted_gets_the_ack_that_the_edge_before_owed(sending: Sending, to: str) -> None:
    """And no second INVITE, for which liblinphone would end the session."""
    dialog = await accepted_at_another_edge(to)
    sending.redis.replies["list_acceptances"] = [[dialog]]
    await sending.feed("1-0", entry("invite", (to,), joined="1-0"), again=True)
    (ack,) = sending.wires.sent
    assert (ack.request.method, ack.request.uri, ack.request.cseq.number) == ("ACK", GRUU, 1)
    assert ack.request.to_tag == "there"
    assert ack.request.call_id == json.loads(dialog)["call_id"]
    assert outcomes(sending) == [(to, "withdrawn", "0")]
    await sending.pass_time(31)
    assert methods(sending) == ["ACK"] * 8, "one for each T2 of 64*T1"
    assert confirmations(sending) == [], "the device may repeat its 2xx to the edge that is gone"
    await sending.pass_time(2)
    assert confirmations(sending) == ["there"], "without an ACK, it would have ended the session"
    assert methods(sending) == ["ACK"] * 8


async def taken_over(sending: Sending, *, is_recorded: bool, is_reported: bool) -> Sent:
    """A proxy had named two devices, and one has accepted; the next INVITE to their user."""
    dialog = await accepted_at_another_edge(DEVICE)
    sending.redis.replies["list_acceptances"] = [[dialog] if is_reported else []]
    sending.redis.settled = {keys.settled(3, "1-0"): {DEVICE.encode()}} if is_recorded else {}
    sending.redis.about = {f"invitation:{BOB}": b"1-0", f"joined:{BOB}": b"1-0"}
    sending.redis.members[BOB] = b"member devices"
    await sending.feed("1-0", entry("invite", (BOB,), joined="1-0"), again=True)
    assert methods(sending) == ["ACK"] * is_reported + ["INVITE"]
    return sending.wires.sent[-1]


WAYS = [(True, True), (True, False), (False, True)]
"""Whether the acceptance was recorded at the event, and whether the room has the session."""


@pytest.mark.parametrize(("is_recorded", "is_reported"), WAYS)
async def test_the_other_devices_that_a_proxy_had_named_are_invited(
    sending: Sending, is_recorded: bool, is_reported: bool
) -> None:
    """The edge before has died: nobody knows whether it has invited them. So the proxy is asked again."""
    sent = await taken_over(sending, is_recorded=is_recorded, is_reported=is_reported)
    assert sent.request.uri == f"sip:{BOB}"
    sending.wires.sent.clear()
    await sending.reply(sent, 302, f"Contact: <{GRUU}>, <sip:{OTHER}>")
    assert methods(sending) == ["ACK", "INVITE"]
    other = sending.wires.sent[-1]
    assert other.request.uri == f"sip:{OTHER}"
    recorded = [] if is_recorded else [(DEVICE, "200", "0")]
    assert outcomes(sending) == recorded, "a BYE of that device counts"
    await accept(sending, other, "tablet", f"Contact: <sip:{OTHER}>")
    assert [report["device"] for report in reports(sending)] == [OTHER]
    assert outcomes(sending) == [*recorded, (OTHER, "200", "0")]
    assert sending.deliver.in_flight() == 0


@pytest.mark.parametrize("status", [302, 480, 404])
@pytest.mark.parametrize(("is_recorded", "is_reported"), WAYS)
async def test_a_user_one_of_whose_devices_has_accepted_takes_part_as_it_does(
    sending: Sending, status: int, is_recorded: bool, is_reported: bool
) -> None:
    """No worker hears that the other ones are not there any more."""
    sent = await taken_over(sending, is_recorded=is_recorded, is_reported=is_reported)
    await sending.reply(sent, status, f"Contact: <{GRUU}>")
    assert methods(sending)[-2:] == ["INVITE", "ACK"]
    assert sending.redis.of("settle")[-1][1] == 1
    assert "1" not in [args[-1] for args in sending.redis.of("settle") if len(args) > 5]
    assert sending.deliver.in_flight() == 0


async def test_a_device_that_has_accepted_meanwhile_is_not_invited(sending: Sending) -> None:
    """Its INVITE waited for others, and the report of the edge before came late."""
    dialog = await accepted_at_another_edge(DEVICE)
    sending.redis.replies["list_acceptances"] = [[], [dialog], [dialog]]
    sending.redis.about = {f"invitation:{BOB}": b"1-0", f"joined:{BOB}": b"1-0"}
    await sending.feed("1-0", entry("invite", (BOB,), joined="1-0"), again=True)
    await sending.reply(sending.wires.sent[-1], 302, f"Contact: <{GRUU}>, <sip:{OTHER}>")
    invited = [each.request.uri for each in sending.wires.sent if each.request.method == "INVITE"]
    assert invited == [f"sip:{BOB}", f"sip:{OTHER}"]
    assert outcomes(sending) == [(DEVICE, "200", "0")]


@pytest.mark.parametrize("is_error", [False, True])
async def test_what_another_invite_has_made_is_not_taken_for_this_one(
    sending: Sending, is_error: bool
) -> None:
    """Of another event, of a client's own INVITE, or unreadable: the user is invited."""
    dialog = await accepted_at_another_edge(BOB)
    others = [dialog.replace(b'"cseq":1', b'"cseq":0'), b"{}", b"\xff"]
    sending.redis.replies["list_acceptances"] = [ReplyError("WRONGTYPE") if is_error else others]
    sending.redis.about = {f"invitation:{BOB}": b"1-0", f"joined:{BOB}": b"1-0"}
    await sending.feed("1-0", entry("invite", (BOB,), joined="1-0"), again=True)
    assert methods(sending) == ["INVITE"]


async def test_while_too_many_requests_wait_it_is_asked_again(sending: Sending) -> None:
    """The report may be among them."""
    sending.redis.replies["list_acceptances"] = [b"unknown", b"unknown", []]
    sending.redis.about = {f"invitation:{BOB}": b"1-0", f"joined:{BOB}": b"1-0"}
    await sending.feed("1-0", entry("invite", (BOB,), joined="1-0"), again=True)
    await sending.until(lambda: bool(sending.wires.sent))
    assert methods(sending) == ["INVITE"]
    assert sending.redis.replies["list_acceptances"] == []
