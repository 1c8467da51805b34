"""INVITEs of different stays of a user, and the BYE between them: what an edge sends, and in which order.

Covers made_dialog.py, too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from imc_common.rooms.delivery_reports import AWAY
from imc_common.store import ReplyError
from imc_edge.delivering import invitation_order, invitations
from tests.imc_edge.delivering.test_dialog_request import DEVICE, GRUU, dialog
from tests.imc_edge.delivering.test_invitations import (
    BOB,
    CONTACT,
    ROUTE,
    accept,
    invite,
    methods,
    outcomes,
    reports,
)
from tests.imc_edge.sending import Sending, Sent, entry

CAROL = "carol@127.0.0.1"
OTHER = f"{BOB};gr=urn:uuid:2"


@pytest.fixture
async def sending(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sending]:
    monkeypatch.setattr(invitations, "RETRY_SECONDS", 0.001)
    async with Sending() as running:
        yield running


async def next_sent(sending: Sending, count: int) -> Sent:
    """The last request, when so many were sent. One that was sent again counts once."""

    def sent() -> dict[bytes, Sent]:
        return {each.data: each for each in sending.wires.sent}

    await sending.until(lambda: len(sent()) >= count)
    assert len(sent()) == count
    return sending.wires.sent[-1]


@pytest.mark.parametrize(
    ("value", "latest", "joined", "is_sent"),
    [
        (b"member inviting", b"1-0", b"1-0", True),
        (b"member inviting", b"1-0", None, True),
        (b"owner devices", b"1-0", b"0-9", True),
        (None, None, None, False),
        (b"invited", b"1-0", None, False),
        (b"member inviting", b"2-0", b"2-0", False),
        (b"member devices", b"1-0", b"1-1", False),
        (b"member", None, b"0-9", False),
    ],
)
@pytest.mark.parametrize("again", [False, True])
async def test_an_invite_is_sent_only_if_it_is_that_of_the_present_stay(  # noqa: PLR0917 # a table
    sending: Sending,
    value: bytes | None,
    latest: bytes | None,
    joined: bytes | None,
    is_sent: bool,
    again: bool,
) -> None:
    """Redis is asked at the last moment: the user was removed since, and perhaps added again.

    Another edge may have sent it, and a device may have accepted. That one has no ACK, and ends its session.
    """
    sending.redis.members[BOB] = value
    sending.redis.about = {f"invitation:{BOB}": latest, f"joined:{BOB}": joined}
    await sending.feed("1-0", entry("invite", (BOB,), joined="1-0"), again=again)
    assert methods(sending) == ["INVITE"] * is_sent
    assert outcomes(sending) == [] if is_sent else [(BOB, "withdrawn", "0")]


@pytest.mark.parametrize("joined", [b"1-0", b"0-9", None])
async def test_an_invite_of_the_present_stay_that_was_accepted_is_not_repeated(
    sending: Sending, joined: bytes | None
) -> None:
    """A worker knows already who has accepted it: the device would lose the room."""
    sending.redis.members[BOB] = b"member devices"
    sending.redis.about = {f"invitation:{BOB}": None, f"joined:{BOB}": joined}
    await sending.feed("1-0", entry("invite", (BOB,), joined="1-0"), again=True)
    assert methods(sending) == []
    assert outcomes(sending) == [(BOB, "withdrawn", "0")]


async def test_who_cannot_be_asked_about_is_invited(sending: Sending) -> None:
    """A key of a wrong type must not keep users from their rooms. An outage is waited for."""
    sending.redis.members[BOB] = ReplyError("WRONGTYPE")  # type: ignore[assignment]
    sending.redis.unreachable = True
    await sending.event("invite", (BOB,))
    assert methods(sending) == []
    sending.redis.unreachable = False
    await next_sent(sending, 1)


async def test_a_pending_invite_of_an_earlier_stay_is_cancelled_before_the_next_one(sending: Sending) -> None:
    """RFC 3261 §9.1. It counts no more, whatever comes of it."""
    first = await invite(sending)
    await sending.reply(first, 100)
    await sending.event("invite", (BOB,))
    cancel = await next_sent(sending, 2)
    assert (cancel.request.method, cancel.request.call_id) == ("CANCEL", first.request.call_id)
    await sending.reply(cancel)
    await sending.reply(first, 487)
    second = await next_sent(sending, 4)
    assert methods(sending) == ["INVITE", "CANCEL", "ACK", "INVITE"]
    assert second.request.call_id != first.request.call_id
    assert outcomes(sending) == [(BOB, "withdrawn", "0")]
    await accept(sending, second)
    assert [report["of"] for report in reports(sending)] == ["2-0"]


async def test_an_invite_without_any_response_is_sent_no_more(sending: Sending) -> None:
    """Nothing can be cancelled then; a late response is waited for, but not for long."""
    await invite(sending)
    await sending.event("invite", (BOB,))
    await sending.pass_time(3.0)
    assert methods(sending) == ["INVITE"]
    await sending.pass_time(2.0)
    second = await next_sent(sending, 2)
    assert second.request.method == "INVITE"
    assert outcomes(sending) == [(BOB, "withdrawn", "0")]


async def test_who_accepts_the_earlier_invite_gets_a_bye_before_the_next_one(sending: Sending) -> None:
    """Its 200 crosses the CANCEL. No worker hears of it."""
    first = await invite(sending)
    await sending.reply(first, 100)
    await sending.event("invite", (BOB,))
    await next_sent(sending, 2)
    await accept(sending, first)
    bye = sending.wires.sent[-1]
    assert methods(sending) == ["INVITE", "CANCEL", "ACK", "BYE"]
    assert (bye.request.uri, bye.request.to_tag) == (GRUU, "there")
    await sending.reply(bye)
    second = await next_sent(sending, 5)
    assert second.request.method == "INVITE"
    assert reports(sending) == []


@pytest.mark.parametrize("status", [200, 481, None])
async def test_who_has_accepted_the_earlier_invite_gets_a_bye_before_the_next_one(
    sending: Sending, status: int | None
) -> None:
    """The worker may not have heard of the session yet when it removed the user. Silence ends, too."""
    first = await invite(sending)
    await accept(sending, first)
    await sending.event("invite", (BOB,))
    bye = await next_sent(sending, 3)
    assert bye.request.method == "BYE"
    if status:
        await sending.reply(bye, status)
    else:
        await sending.pass_time(33.0)
    await sending.until(lambda: methods(sending)[-1] == "INVITE")


async def test_the_bye_of_the_room_comes_before_the_next_invite(sending: Sending) -> None:
    """It ends the session that the first INVITE has made, so there is no other BYE."""
    first = await invite(sending)
    await accept(sending, first)
    ended = dialog(call_id=first.request.call_id, remote_tag="there")
    await sending.event("bye", (DEVICE,), dialog=ended)
    await sending.event("invite", (BOB,))
    await sending.event("invite", (CAROL,))
    other = await next_sent(sending, 4)
    assert other.request.uri == f"sip:{CAROL}"
    await sending.reply(sending.wires.sent[2])
    second = await next_sent(sending, 5)
    assert second.request.uri == f"sip:{BOB}"


async def test_invites_of_one_stay_to_different_devices_do_not_wait(sending: Sending) -> None:
    """Devices are invited alone."""
    for to in (DEVICE, OTHER):
        await sending.event("invite", (to,), joined="1-0")
    assert methods(sending) == ["INVITE"] * 2
    assert outcomes(sending) == []


@pytest.mark.parametrize(("first", "second"), [(DEVICE, DEVICE), (BOB, DEVICE), (BOB, BOB)])
async def test_an_invite_waits_for_another_one_that_may_reach_the_same_device(
    sending: Sending, first: str, second: str
) -> None:
    """An INVITE to a user may be forked. The device would accept both, and end the first session by BYE."""
    await sending.event("invite", (first,), joined="1-0")
    await sending.event("invite", (second,), joined="1-0")
    await sending.reply(sending.wires.sent[0], 100)
    await sending.pass_time(1.0)
    assert methods(sending) == ["INVITE"]
    await sending.reply(sending.wires.sent[0], 480)
    sent = await next_sent(sending, 3)
    assert sent.request.uri == f"sip:{second}"


async def test_a_device_that_has_accepted_is_not_sent_the_invite_that_has_waited(sending: Sending) -> None:
    """No worker has come to the report yet. A later INVITE is sent: the session has ended meanwhile."""
    await sending.event("invite", (DEVICE,), joined="1-0")
    await sending.event("invite", (DEVICE,), joined="1-0")
    await accept(sending, sending.wires.sent[0])
    await sending.pass_time(1.0)
    assert methods(sending) == ["INVITE", "ACK"]
    assert [outcome[:2] for outcome in outcomes(sending)] == [(DEVICE, "200"), (DEVICE, "withdrawn")]
    await sending.event("invite", (DEVICE,), joined="1-0")
    assert methods(sending) == ["INVITE", "ACK"], "it was written before a worker came to the report"
    sending.clock.now += invitation_order.REPORT_SECONDS
    await sending.event("invite", (DEVICE,), joined="1-0")
    assert (await next_sent(sending, 3)).request.method == "INVITE"


async def test_a_device_whose_session_the_room_has_ended_is_invited_again_at_once(sending: Sending) -> None:
    """In the same stay: it does not show the room, and has had no roster."""
    await sending.event("invite", (DEVICE,), joined="1-0")
    first = sending.wires.sent[0]
    await accept(sending, first)
    await sending.pass_time(1.0)
    ended = dialog(call_id=first.request.call_id, remote_tag="there")
    await sending.event("bye", (f"{DEVICE};aor",), dialog=ended)
    bye = await next_sent(sending, 3)
    await sending.event("invite", (DEVICE,), joined="1-0")
    await sending.reply(bye, 200)
    assert (await next_sent(sending, 4)).request.method == "INVITE"


@pytest.mark.parametrize("seconds", [1.0, 33.0])
async def test_an_invite_waits_for_the_report_of_a_device_that_has_accepted(
    sending: Sending, seconds: float
) -> None:
    """Redis is unreachable. If it is so for too long, the device has ended its session."""
    await sending.event("invite", (DEVICE,), joined="1-0")
    sending.redis.unreachable = True
    await accept(sending, sending.wires.sent[0])
    await sending.event("invite", (DEVICE,), joined="1-0")
    sending.clock.now += seconds
    sending.redis.unreachable = False
    await sending.until(lambda: sending.deliver.in_flight() == (seconds > 32.0))
    await sending.settle_down()
    assert methods(sending) == ["INVITE", "INVITE" if seconds > 32.0 else "ACK"]


async def forked(sending: Sending) -> None:
    """A device has accepted an INVITE to its user. Then its other one is invited."""
    await sending.event("invite", (BOB,), joined="1-0")
    await accept(sending, sending.wires.sent[0])
    await sending.event("invite", (OTHER,), joined="1-0")


async def test_a_device_is_not_invited_while_a_proxy_may_have_forked_an_invite_to_it(
    sending: Sending,
) -> None:
    """RFC 3261 §16.7: a branch without a response cannot be cancelled. It ends with Timer B."""
    await forked(sending)
    await sending.pass_time(31.0)
    assert methods(sending) == ["INVITE", "ACK"]
    await sending.pass_time(2.0)
    assert (await next_sent(sending, 3)).request.uri == f"sip:{OTHER}"


async def test_a_device_that_a_proxy_has_forked_an_invite_to_is_not_invited(sending: Sending) -> None:
    await forked(sending)
    await accept(sending, sending.wires.sent[0], "tablet", f"Contact: <sip:{OTHER}>")
    await sending.pass_time(33.0)
    assert methods(sending) == ["INVITE", "ACK", "ACK"]
    assert [outcome[:2] for outcome in outcomes(sending)] == [(BOB, "200"), (OTHER, "withdrawn")]


async def test_an_invite_of_a_later_stay_does_not_wait_for_a_forked_one(sending: Sending) -> None:
    """The one that waits is of no use any more."""
    await forked(sending)
    sending.redis.about = {f"invitation:{BOB}": b"3-0", f"joined:{BOB}": b"3-0"}
    await sending.event("invite", (BOB,))
    bye = await next_sent(sending, 3)
    assert bye.request.method == "BYE"
    await sending.reply(bye)
    second = await next_sent(sending, 4)
    assert (second.request.method, second.request.uri) == ("INVITE", f"sip:{BOB}")


async def test_an_invite_does_not_wait_for_one_of_a_shard_that_was_lost(sending: Sending) -> None:
    """A proxy has responded 100, and may take long. The next owner would not wait either."""
    await sending.event("invite", (DEVICE,), joined="1-0")
    await sending.reply(sending.wires.sent[0], 100)
    everything, sending.owner.shards = sending.owner.shards, frozenset()
    await sending.pass_time(0.2)
    sending.owner.shards = everything
    await sending.event("invite", (DEVICE,), joined="1-0")
    await next_sent(sending, 2)
    assert methods(sending) == ["INVITE"] * 2


async def test_a_redirection_of_an_earlier_stay_leads_nowhere(sending: Sending) -> None:
    first = await invite(sending)
    await sending.reply(first, 100)
    await sending.event("invite", (BOB,))
    await next_sent(sending, 2)
    await sending.reply(first, 302, f"Contact: <{GRUU}>")
    second = await next_sent(sending, 4)
    assert second.request.uri == f"sip:{BOB}"


async def test_a_user_who_is_a_member_again_gets_no_farewell(sending: Sending) -> None:
    """The device has lost the session of an earlier stay. It shows the room until its user leaves."""
    await sending.event("bye", (DEVICE,), dialog=dialog())
    await sending.reply(sending.wires.sent[0], 481)
    assert methods(sending) == ["BYE"]
    assert outcomes(sending) == [(DEVICE, "withdrawn", "1")]


@pytest.mark.parametrize("code", ["CLUSTERDOWN", "WRONGTYPE"])
async def test_no_farewell_is_said_to_who_may_be_a_member(sending: Sending, code: str) -> None:
    """One node of a Cluster is down for a moment. The user is asked about again, unless that is of no use."""
    sending.redis.members[BOB] = ReplyError(code)  # type: ignore[assignment]
    await sending.event("bye", (DEVICE,), dialog=dialog())
    await sending.reply(sending.wires.sent[-1], 481)
    assert methods(sending) == ["BYE"]
    assert len(outcomes(sending)) == (code == "WRONGTYPE")
    sending.redis.members[BOB] = None
    if code == "CLUSTERDOWN":
        await next_sent(sending, 2)
        assert methods(sending) == ["BYE", "INVITE"]


@pytest.mark.parametrize(("status", "outcome"), [(480, "480"), (603, "481")])
async def test_a_farewell_that_finds_nobody_is_made_later(
    sending: Sending, status: int, outcome: str
) -> None:
    """As a BYE that finds nobody. Until then the next INVITE waits."""
    sending.redis.members[BOB] = None
    await sending.event("bye", (DEVICE,), dialog=dialog())
    await sending.reply(sending.wires.sent[0], 481)
    assert outcomes(sending) == []
    sending.redis.members[BOB] = b"member inviting"
    await sending.event("invite", (BOB,))
    assert methods(sending) == ["BYE", "INVITE"]
    await sending.reply(sending.wires.sent[1], status)
    assert outcomes(sending)[0][:2] == (DEVICE, outcome)
    second = await next_sent(sending, 4)
    assert second.request.uri == f"sip:{BOB}"


@pytest.mark.parametrize(("status", "outcome"), [(200, "481"), (481, "481"), (404, "404"), (None, "408")])
async def test_a_farewell_is_settled_when_its_bye_has_ended(
    sending: Sending, status: int | None, outcome: str
) -> None:
    """If the edge dies before, another one makes a session again: otherwise the phone would keep this one.

    A phone may be switched off between its 2xx and the BYE, and shows the room when it is on again. Then the
    worker keeps the farewell, and it can be said again at once.
    """
    sending.redis.members[BOB] = None
    await sending.event("bye", (DEVICE,), dialog=dialog())
    await sending.reply(sending.wires.sent[0], 481)
    await accept(sending, sending.wires.sent[1])
    bye = await next_sent(sending, 4)
    assert methods(sending) == ["BYE", "INVITE", "ACK", "BYE"]
    assert outcomes(sending) == []
    if status:
        await sending.reply(bye, status)
    else:
        await sending.pass_time(33.0)
    assert [each[:2] for each in outcomes(sending)] == [(DEVICE, outcome)]
    count = len(sending.wires.sent)
    await sending.event("bye", (DEVICE,), dialog=dialog(call_id="gone-1"))
    await sending.reply(sending.wires.sent[count], 481)
    assert methods(sending)[count:] == (["BYE", "INVITE"] if outcome in AWAY else ["BYE"])


async def test_what_was_long_ago_is_forgotten(sending: Sending) -> None:
    """Only what may still be under way is kept in memory."""
    order = sending.deliver._invitations._order
    for number in range(3):
        sent = await invite(sending, f"u{number}@127.0.0.1")
        await accept(sending, sent, "there", CONTACT.replace("bob", f"u{number}"), ROUTE)
        await sending.event("bye", (f"u{number}@127.0.0.1;gr=1",), dialog=dialog())
        await sending.reply(sending.wires.sent[-1])
        sending.clock.now += invitation_order.KNOWN_SECONDS
    assert [place for place, _ in [*order._started, *order._byes]]
    await invite(sending, CAROL)
    assert list(order._started) == [(sent.request.from_.uri.address(), CAROL)]
    assert not order._byes
