"""Requests of clients in dialogs, out of order and again (RFC 3261 §12.2.2, §17.2.2)."""

from __future__ import annotations

import pytest

from tests.imc_edge.conference.requests import FACTORY, ROOM, invite, request, resource_list, subscribe
from tests.imc_edge.doubles import FakeFlow, edge
from tests.imc_edge.receiving.test_conferences import BOB, answer, until

IN_DIALOG = f"<sip:{ROOM}>;tag=OURS"


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("INVITE", {"Subject": "New"}),
        ("INVITE", {}),
        ("REFER", {"Refer_To": f"<{BOB}>"}),
        ("BYE", {}),
    ],
)
async def test_a_request_with_a_lower_number_gets_500(method: str, headers: dict[str, str]) -> None:
    """At whichever edge. An equal number, and a higher one, are in order."""
    async with edge() as one, edge() as other:
        other.store._sequences = one.store._sequences
        statuses = []
        for at, number in ((one, 7), (other, 6), (other, 7), (one, 8), (one, 7)):
            data = request(
                method,
                To=IN_DIALOG,
                CSeq=f"{number} {method}",
                Call_ID="c",
                Max_Forwards=str(70 - len(statuses)),
                **headers,
            )
            statuses.append((await answer(at, data)).status)
    good = 202 if method == "REFER" else 200
    # the last one was accepted before, unless it needs no worker
    last = 500 if method == "INVITE" and not headers else good
    assert statuses == [good, 500, good, good, last]


async def test_of_two_invites_at_once_the_second_comes_again_later() -> None:
    """RFC 3261 §14.2. A retransmission of the first is no second one, and other dialogs have their own."""
    async with edge() as at:

        def change(number: int, subject: str, **headers: str) -> FakeFlow:
            flow = FakeFlow("tcp", ("192.0.2.1", 5062))
            usual = {"To": IN_DIALOG, "Call_ID": "c"} | headers
            at.acceptor.receive(request("INVITE", Subject=subject, CSeq=f"{number} INVITE", **usual), flow)
            return flow

        first, again, second, other = (
            change(7, "first"),
            change(7, "first"),
            change(8, "second"),
            change(8, "other", Call_ID="d"),
        )
        await until(lambda: all(each.sent for each in (first, again, second, other)))
        statuses = [each.responses[-1].status for each in (first, again, second, other)]
        assert statuses == [200, 200, 500, 200]
        assert 0 <= int(second.responses[0].headers.get("Retry-After") or "-1") <= 10
        assert (
            await answer(at, request("INVITE", Subject="second", CSeq="8 INVITE", To=IN_DIALOG, Call_ID="c"))
        ).status == 200
        assert [each.text for each in at.store.entries][-1] == "second"


async def test_the_first_request_of_a_dialog_counts() -> None:
    """RFC 3261 §12.1.1: it sets the remote sequence number. It may have gone to the factory."""
    async with edge() as at:
        made = await answer(at, invite(BOB, CSeq="20 INVITE"))
        to = f"<{FACTORY}>;tag={made.to_tag}"
        about = {"To": to, "From": "<sip:alice@example.org>;tag=1928"}
        for number, status in ((19, 500), (21, 200)):
            change = request("INVITE", Subject="New", CSeq=f"{number} INVITE", **about)
            assert (await answer(at, change)).status == status


async def test_a_session_and_a_subscription_have_numbers_of_their_own() -> None:
    """Each is a dialog, and so is that of another user with the same Call-ID and tag."""
    async with edge() as at:
        bye = request("REFER", To=IN_DIALOG, CSeq="20 REFER", Call_ID="session", Refer_To=f"<{BOB}>")
        assert (await answer(at, bye)).status == 202
        assert (await answer(at, subscribe(CSeq="1 SUBSCRIBE", Call_ID="s"))).status == 200
        other = {"From": "<sip:bob@example.org;gr=1>;tag=1928", "Contact": "<sip:bob@example.org;gr=1>"}
        again = request(
            "REFER", To=IN_DIALOG, CSeq="1 REFER", Call_ID="session", Refer_To=f"<{BOB}>", **other
        )
        assert (await answer(at, again)).status == 202


@pytest.mark.parametrize("is_list", [True, False])
async def test_a_subscription_is_refreshed_in_order(is_list: bool) -> None:
    async with edge() as at:
        uri = FACTORY if is_list else f"sip:{ROOM}"
        body = resource_list(f"sip:{ROOM}") if is_list else b""
        first = await answer(at, subscribe(uri, body, CSeq="20 SUBSCRIBE"))
        to = f"<{uri}>;tag={first.to_tag}"
        for number, status in ((19, 500), (21, 200)):
            refreshed = subscribe(uri, body, CSeq=f"{number} SUBSCRIBE", To=to)
            assert (await answer(at, refreshed)).status == status


async def test_requests_outside_dialogs_have_no_order() -> None:
    """RFC 4488: such a REFER makes no dialog, whatever its Call-ID."""
    async with edge() as at:
        for number in (20, 19):
            refer = request("REFER", CSeq=f"{number} REFER", Refer_To=f"<{BOB}>")
            assert (await answer(at, refer)).status == 202


@pytest.mark.parametrize(
    ("method", "headers", "status", "before"),
    [
        ("BYE", {}, 200, 481),
        ("INVITE", {"Subject": "New"}, 200, 481),
        ("REFER", {"Refer_To": f"<{BOB}>"}, 202, 404),
        ("SUBSCRIBE", {"To": f"<sip:{ROOM}>", "Event": "conference"}, 200, 404),
        ("INVITE", {"To": f"<sip:{ROOM}>"}, 200, 404),
    ],
)
async def test_a_retransmission_gets_the_response_of_the_first_copy(
    method: str, headers: dict[str, str], status: int, before: int
) -> None:
    """At another edge, or after this one has forgotten it; whatever has changed, as by the BYE itself."""
    async with edge() as one, edge() as other:
        other.store._seen, other.store._sequences = one.store._seen, one.store._sequences
        usual = {"To": IN_DIALOG, "CSeq": f"2 {method}"} | headers
        first = await answer(one, request(method, **usual))
        assert first.status == status
        one.store.roles[ROOM] = other.store.roles[ROOM] = b"unknown"
        for at in (one, other):
            again = await answer(at, request(method, **usual))
            assert (again.status, again.to_tag) == (status, first.to_tag)
        assert (await answer(other, request(method, **(usual | {"CSeq": f"3 {method}"})))).status == before


async def test_a_refer_of_somebody_who_is_no_admin_any_more_is_answered_again() -> None:
    async with edge() as at:
        refer = request("REFER", Refer_To=f"<{BOB}>")
        assert (await answer(at, refer)).status == 202
        at.store.roles[ROOM] = b"member"
        assert (await answer(at, refer)).status == 202
        assert (await answer(at, request("REFER", Refer_To=f"<{BOB}>", Call_ID="x"))).status == 403
