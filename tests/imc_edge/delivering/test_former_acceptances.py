"""INVITEs that an edge before has sent, and that devices have accepted (RFC 3261 §13.2.2.4)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from imc_common.store import ReplyError
from imc_edge.delivering import invitations
from tests.imc_edge.delivering.test_dialog_request import DEVICE, GRUU
from tests.imc_edge.delivering.test_invitations import (
    BOB,
    accept,
    confirmations,
    invite,
    methods,
    outcomes,
    reports,
)
from tests.imc_edge.sending import Sending, entry


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
    """And no second INVITE, for which liblinphone would end the session. A proxy may have named it."""
    dialog = await accepted_at_another_edge(to)
    sending.redis.replies["list_acceptances"] = [[dialog]]
    await sending.feed("1-0", entry("invite", (BOB,), joined="1-0"), again=True)
    (ack,) = sending.wires.sent
    assert (ack.request.method, ack.request.uri, ack.request.cseq.number) == ("ACK", GRUU, 1)
    assert ack.request.to_tag == "there"
    assert ack.request.call_id == json.loads(dialog)["call_id"]
    await sending.pass_time(invitations.CONFIRM_SECONDS + 0.1)
    assert confirmations(sending) == ["there"]
    assert outcomes(sending) == [(BOB, "withdrawn", "0")]


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
