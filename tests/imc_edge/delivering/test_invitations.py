"""Invitations by INVITE: what goes out, what follows from each response, and what the worker hears.

Covers acceptance.py, invitation.py, invite_outcome.py and invite_transaction.py.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from imc_common import keys
from imc_common.keys import client_devices, user_shard
from imc_common.sip.message import Request
from imc_common.store import ReplyError
from imc_edge.conference.dialog import Dialog
from imc_edge.delivering import invitations as module
from imc_edge.delivering.invitation import MAX_ACCEPTING
from imc_edge.delivering.invite_transaction import TRANSITIONS, InviteTransactions
from imc_edge.delivering.made_dialog import MadeDialog
from imc_edge.routing.targets import Targets
from tests.imc_edge.delivering.test_dialog_request import DEVICE, GRUU, dialog
from tests.imc_edge.sending import ROOM, Sending, Sent, on_loopback

BOB = "bob@127.0.0.1"
OTHER = f"{BOB};gr=urn:uuid:2"
CONTACT = f'Contact: <{GRUU}>;+org.linphone.specs="groupchat"'
ROUTE = "Record-Route: <sip:127.0.0.9;lr>"


@pytest.fixture
async def sending(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sending]:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.001)
    async with Sending() as running:
        yield running


async def invite(sending: Sending, to: str = BOB, **fields: Any) -> Sent:
    """The INVITE of an event."""
    await sending.event("invite", (to,), **({"text": "Lunch", "list": "alice@example.org"} | fields))
    return sending.wires.sent[-1]


def methods(sending: Sending) -> list[str]:
    return [sent.request.method for sent in sending.wires.sent]


def reports(sending: Sending) -> list[dict[str, Any]]:
    """Who has accepted, as the worker hears it."""
    return [each for each in requests(sending) if each["type"] == "delivery_report"]


def confirmations(sending: Sending) -> list[str]:
    """The tags of the devices that got their ACK, as the worker hears it."""
    found = [each["dialog"] for each in requests(sending) if each["type"] == "confirm_dialog"]
    return [json.loads(dialog)["remote_tag"] for dialog in found]


def requests(sending: Sending) -> list[dict[str, Any]]:
    """The requests to the worker."""
    found = []
    for args in sending.redis.of("accept_many"):
        fields = args[5:]
        found.append(dict(zip(fields[::2], fields[1::2], strict=True)))
    return found


async def redirected(sending: Sending) -> tuple[Sent, Sent]:
    """A proxy has named two devices of the user: the INVITEs to them."""
    sent = await invite(sending)
    await sending.reply(sent, 302, f"Contact: <{GRUU}>, <sip:{OTHER}>")
    first, second = sending.wires.sent[-2:]
    return first, second


def outcomes(sending: Sending) -> list[tuple[Any, ...]]:
    """Recipient, outcome and whether it is reported, as the events were settled."""
    return [args[-3:] for args in sending.redis.of("settle")]


async def accept(sending: Sending, sent: Sent, tag: str = "there", *headers: str) -> None:
    """A device accepts."""
    response = sent.response(200, *(headers or (CONTACT, ROUTE)))
    sending.deliver.response(response.replace(b";tag=there", f";tag={tag}".encode()))
    await sending.settle_down()


async def test_a_user_is_invited_with_the_other_members(sending: Sending) -> None:
    """RFC 4579 §5.6; to the user's address: the device is not known yet."""
    request = (await invite(sending)).request
    assert (request.method, request.uri) == ("INVITE", f"sip:{BOB}")
    assert request.headers.get("To") == f"<sip:{BOB}>"
    assert request.headers.get("Contact") == f"<sip:{ROOM}>;isfocus;text"
    assert request.headers.get("Subject") == "Lunch"
    assert request.headers.get("Require") == "recipient-list-invite"
    assert request.headers.get("Content-Disposition") == "recipient-list-history"
    assert b'uri="sip:alice@example.org"' in request.body
    assert request.from_.uri.address() == ROOM
    assert len(request.from_tag or "") == 32


async def test_a_device_that_accepts_is_acknowledged_and_reported(sending: Sending) -> None:
    """RFC 3261 §13.2.2.4: the ACK takes the way of the dialog. Only then the event is settled."""
    sent = await invite(sending)
    await accept(sending, sent)
    ack = sending.wires.sent[1]
    assert (ack.request.method, ack.request.uri, ack.hop.host) == ("ACK", GRUU, "127.0.0.9")
    assert ack.request.headers.get("Route") == "<sip:127.0.0.9;lr>"
    assert ack.request.cseq.number == 1
    assert ack.request.to_tag == "there"
    assert ack.request.via.branch != sent.request.via.branch
    (report,) = reports(sending)
    assert list(report)[:3] == ["type", "from", "room"]
    assert (report["type"], report["event"], report["status"]) == ("delivery_report", "invite", "200")
    assert (report["from"], report["device"], report["of"]) == (BOB, DEVICE, "1-0")
    made = json.loads(report["dialog"])
    assert (made["target"], made["remote_tag"], made["state"]) == (GRUU, "there", "accepted")
    assert (made["routes"], made["cseq"]) == (["<sip:127.0.0.9;lr>"], 1)
    assert confirmations(sending) == []
    await sending.pass_time(module.CONFIRM_SECONDS + 0.1)
    assert confirmations(sending) == ["there"]
    assert outcomes(sending) == [(BOB, "200", "0")]
    assert sending.deliver.in_flight() == 0


async def test_each_device_of_a_user_is_a_dialog_of_its_own(sending: Sending) -> None:
    """One INVITE was forked; a 2xx that comes again is acknowledged again and not reported again."""
    sent = await invite(sending)
    other = f"Contact: <sip:{BOB};gr=urn:uuid:2>"
    await accept(sending, sent)
    await accept(sending, sent, "tablet", other)
    await accept(sending, sent)
    assert [report["device"] for report in reports(sending)] == [DEVICE, f"{BOB};gr=urn:uuid:2"]
    await sending.pass_time(module.CONFIRM_SECONDS + 0.1)
    digests = {args[3] for args in sending.redis.of("accept_many")}
    assert len(digests) == 4, "so Redis takes each once, also from the next owner of the shard"
    assert confirmations(sending) == ["there", "tablet"]
    assert methods(sending) == ["INVITE", "ACK", "ACK", "ACK"]
    assert sending.wires.sent[1].data == sending.wires.sent[3].data
    assert len(outcomes(sending)) == 1


async def test_a_device_that_repeats_its_2xx_may_have_no_ack(sending: Sending) -> None:
    """RFC 3261 §13.3.1.4: it ends its session if none comes, which must not look as if its user left."""
    sent = await invite(sending)
    await accept(sending, sent)
    await sending.pass_time(module.CONFIRM_SECONDS - 4)
    await accept(sending, sent)
    await sending.pass_time(module.CONFIRM_SECONDS - 1.1)
    assert confirmations(sending) == []
    await sending.pass_time(1.3)
    assert confirmations(sending) == ["there"]


async def test_a_device_that_no_ack_reaches_is_offered_its_rooms_later(sending: Sending) -> None:
    """It repeats its 2xx for 32 s. The room gives it up after some INVITEs; a REGISTER leads to one."""
    sent = await invite(sending)
    for each in range(8):
        await accept(sending, sent)
        names = [names for command, names, _ in sending.redis.ran if command == "HINCRBY"]
        assert names == [(client_devices(user_shard(BOB), BOB),)] * (each > 6)
        await sending.pass_time(4)
    assert confirmations(sending) == []


async def test_an_edge_that_ends_reports_whom_it_has_sent_an_ack(sending: Sending) -> None:
    """At a restart, too, the user of each device can leave by BYE."""
    await accept(sending, await invite(sending))
    await sending.pass_time(1.1)
    assert confirmations(sending) == []
    await sending.deliver.drain(sending.clock() + 1)
    assert confirmations(sending) == ["there"]


@pytest.mark.parametrize(("copy", "seconds"), [(0.0, 0.9), (1.5, 2.4), (7.5, 4.4)])
async def test_an_edge_that_ends_reports_no_device_that_may_have_no_ack(
    copy: float, seconds: float, sending: Sending
) -> None:
    """The next copy of its 2xx may be under way: the session would end as if the user had left."""
    sent = await invite(sending)
    await accept(sending, sent)
    await sending.pass_time(copy)
    await accept(sending, sent)
    await sending.pass_time(seconds)
    await sending.deliver.drain(sending.clock() + 1)
    assert confirmations(sending) == []


async def test_no_ack_is_no_confirmation(sending: Sending, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way to the device is unknown. The next copy of the 2xx asks for it again."""
    sent = await invite(sending)
    hops = sending.deliver._invitations.next_hops
    with monkeypatch.context() as patched:
        patched.setattr(type(hops), "known", lambda *_: Targets([]))
        await accept(sending, sent)
    assert methods(sending) == ["INVITE"]
    await sending.pass_time(module.CONFIRM_SECONDS + 0.1)
    assert confirmations(sending) == []
    await accept(sending, sent)
    assert methods(sending) == ["INVITE", "ACK"]


async def test_a_report_tells_how_long_ago_the_device_has_responded(sending: Sending) -> None:
    """Its 32 s without an ACK count from there (RFC 3261 §13.3.1.4)."""
    sent = await invite(sending)
    sending.redis.unreachable = True
    await accept(sending, sent)
    sending.clock.now += 7.5
    await sending.settle_down()  # the try that was under way has failed
    sending.redis.unreachable = False
    await sending.until(lambda: bool(reports(sending)))
    assert [each["detail"] for each in reports(sending)] == ["7500"]


async def test_an_error_in_one_report_ends_no_other(
    sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is."""
    first, second = await invite(sending), await invite(sending, "carol@127.0.0.1")
    sending.redis.unreachable = True
    await accept(sending, first)
    await accept(sending, second, "there", "Contact: <sip:carol@127.0.0.1;gr=urn:uuid:3>")
    acknowledge = MadeDialog.acknowledge
    broken = [True]

    def act(made: MadeDialog) -> None:
        if broken.pop() if broken else False:
            raise RuntimeError("an error of ours")
        acknowledge(made)

    monkeypatch.setattr(MadeDialog, "acknowledge", act)
    sending.redis.unreachable = False
    await sending.until(lambda: "ACK" in methods(sending))
    assert len(reports(sending)) == 2


async def test_a_report_that_redis_does_not_take_is_written_later(sending: Sending) -> None:
    """Until then the event is in flight, and the device has no ACK: so its session ends if this edge does."""
    sent = await invite(sending)
    sending.redis.replies["accept_many"] = [ReplyError("OOM"), [b"accepted"]]
    sending.redis.unreachable = True
    await accept(sending, sent)
    await accept(sending, sent)
    assert sending.deliver.in_flight() == 1
    assert methods(sending) == ["INVITE"]
    sending.redis.unreachable = False
    await sending.until(lambda: sending.deliver.in_flight() == 0)
    assert outcomes(sending) == [(BOB, "200", "0")]
    assert methods(sending) == ["INVITE", "ACK"]


async def test_a_report_that_no_replica_has_is_written_again(sending: Sending) -> None:
    """`durability = replicas`: a failover would lose it, and another server would settle the event."""
    sent = await invite(sending)
    sending.redis.has_replica = False
    await accept(sending, sent)
    assert (outcomes(sending), sending.deliver.in_flight()) == ([], 1)
    sending.redis.has_replica = True
    await sending.until(lambda: sending.deliver.in_flight() == 0)
    assert outcomes(sending) == [(BOB, "200", "0")]


@pytest.mark.parametrize("status", [302, 404, 405, 480, 486, 488, 603])
async def test_a_refusal_is_acknowledged_and_reported(sending: Sending, status: int) -> None:
    """RFC 3261 §17.1.1.3: in the same transaction; also when it comes again."""
    sent = await invite(sending)
    for _ in range(2):
        await sending.reply(sent, status)
    assert methods(sending) == ["INVITE", "ACK", "ACK"]
    ack: Request = sending.wires.sent[1].request
    assert (ack.uri, ack.via.branch) == (sent.request.uri, sent.request.via.branch)
    assert ack.headers.get("To") == f"<sip:{BOB}>;tag=there"
    assert (ack.cseq.number, ack.call_id) == (1, sent.request.call_id)
    assert outcomes(sending) == [(BOB, str(status), "1")]
    assert reports(sending) == []


@pytest.mark.parametrize(("to", "status", "counted"), [(DEVICE, 480, 1), (DEVICE, 488, 0), (BOB, 480, 0)])
async def test_a_device_that_was_invited_in_vain_is_offered_the_room_again(
    sending: Sending, to: str, status: int, counted: int
) -> None:
    """By its next REGISTER. A user is sent the INVITE again anyway, and who refuses is not asked again."""
    await sending.reply(await invite(sending, to), status)
    names = [names for name, names, _ in sending.redis.ran if name == "HINCRBY"]
    assert names == [(client_devices(user_shard(BOB), BOB),)] * counted


async def test_a_redirection_to_devices_invites_each_of_them(sending: Sending) -> None:
    """RFC 3261 §8.1.3.4: by its GRUU, under which its client files the room. Others' devices are left out."""
    sent = await invite(sending)
    phone, tablet = f"<{GRUU}>", f"<sip:{BOB};gr=urn:uuid:2>"
    contacts = f"Contact: {phone};q=0.5, {tablet}, {phone}, <sip:mallory@127.0.0.1;gr=1>, <sip:{BOB}>"
    await sending.reply(sent, 302, contacts)
    tablets, phones = (
        each for each in sending.wires.sent if each.request.method == "INVITE" and each is not sent
    )
    assert [each.request.headers.get("To") for each in (tablets, phones)] == [tablet, phone]
    assert [f"<{each.request.uri}>" for each in (tablets, phones)] == [tablet, phone]
    assert len({each.request.call_id for each in (sent, tablets, phones)}) == 3
    await sending.reply(tablets, 486)
    assert outcomes(sending) == []
    await accept(sending, phones)
    (report,) = reports(sending)
    assert (report["from"], report["device"]) == (DEVICE, DEVICE)
    assert outcomes(sending) == [(DEVICE, "200", "0")]
    assert sending.deliver.in_flight() == 0


@pytest.mark.parametrize("status", [200, 480])
async def test_an_invite_to_devices_stays_until_each_has_responded(sending: Sending, status: int) -> None:
    """If this edge dies before, the next one has to invite the others. Who has accepted is recorded."""
    first, second = await redirected(sending)
    await accept(sending, first)
    assert sending.redis.of("settle")[-1][1] == 0
    assert outcomes(sending) == [(DEVICE, "200", "0")]
    assert sending.deliver.in_flight() == 1
    if status == 200:
        await accept(sending, second, "tablet", f"Contact: <sip:{OTHER}>")
    else:
        await sending.reply(second, status)
    assert sending.redis.of("settle")[-1][1] == 1
    assert outcomes(sending)[-1] == (OTHER, str(status), "0" if status == 200 else "1")
    assert sending.deliver.in_flight() == 0


async def test_who_accepts_when_the_shard_is_lost_is_not_recorded(sending: Sending) -> None:
    """The next owner may have invited that device again, which then sends BYE in this session."""
    first, _ = await redirected(sending)
    script = sending.redis.script

    def lost(name: str, *args: Any) -> Any:
        if name == "accept_many":
            sending.owner.shards = frozenset()
        return script(name, *args)

    sending.redis.script = lost  # type: ignore[method-assign]
    await accept(sending, first)
    assert [report["device"] for report in reports(sending)] == [DEVICE]
    await sending.pass_time(1.0)
    assert outcomes(sending) == []


@pytest.mark.parametrize("is_late", [False, True])
async def test_a_telephone_beside_a_device_that_has_accepted_changes_nothing(
    sending: Sending, is_late: bool
) -> None:
    """A proxy has forked the INVITE. The report of the device may not be written yet."""
    sent = await invite(sending)
    sending.redis.unreachable = True
    await accept(sending, sent)
    await accept(sending, sent, "phone", "Contact: <sip:bob@127.0.0.1:5071>")
    assert outcomes(sending) == []
    if is_late:
        sending.clock.now += 33.0
        await sending.settle_down()
    sending.redis.unreachable = False
    await sending.until(lambda: sending.deliver.in_flight() == 0)
    assert outcomes(sending) == [(BOB, "408", "1") if is_late else (BOB, "200", "0")]


async def test_a_device_that_is_in_the_room_is_not_invited_again(sending: Sending) -> None:
    """Linphone would send BYE in its older dialog, which is how a user leaves a room."""
    here, other = f"<{GRUU}>", f"<sip:{BOB};gr=urn:uuid:2>"
    sent = await invite(sending, detail=DEVICE)
    await sending.reply(sent, 302, f"Contact: {here}, {other}")
    assert [each.request.headers.get("To") for each in sending.wires.sent[2:]] == [other]


async def test_nobody_is_invited_if_all_devices_are_in_the_room(sending: Sending) -> None:
    """The event ends, and nothing changes for the member."""
    sent = await invite(sending, detail=DEVICE)
    await sending.reply(sent, 302, f"Contact: <{GRUU}>")
    assert methods(sending) == ["INVITE", "ACK"]
    assert outcomes(sending) == [(BOB, "488", "1")]


@pytest.mark.parametrize(
    ("statuses", "outcome"),
    [((488, 480), "480"), ((480, 488), "480"), ((415, 488), "415"), ((302, 302), "302")],
)
async def test_a_user_none_of_whose_devices_accepts_has_one_outcome(
    sending: Sending, statuses: tuple[int, int], outcome: str
) -> None:
    """If one may accept later, the user is invited again."""
    sent = await invite(sending)
    await sending.reply(sent, 302, f"Contact: <{GRUU}>, <sip:{BOB};gr=urn:uuid:2>")
    each = [each for each in sending.wires.sent[1:] if each.request.method == "INVITE"]
    for one, status in zip(each, statuses, strict=True):
        await sending.reply(one, status, f"Contact: <sip:{BOB};gr=urn:uuid:3>")
    assert outcomes(sending) == [(BOB, outcome, "1")]


@pytest.mark.parametrize(
    ("status", "missed"), [(480, [(OTHER, "480", "1")]), (486, []), (488, []), (404, [(OTHER, "404", "1")])]
)
@pytest.mark.parametrize("is_last", [False, True])
async def test_the_worker_hears_of_a_device_that_was_not_there(
    sending: Sending, status: int, missed: list[tuple[str, str, str]], *, is_last: bool
) -> None:
    """Another device of the user has accepted. The worker has the missing one invited again later."""
    first, second = await redirected(sending)
    if not is_last:
        await sending.reply(second, status)
    await accept(sending, first)
    if is_last:
        await sending.reply(second, status)
    await sending.until(lambda: sending.deliver.in_flight() == 0)
    told = [args[5:] for args in sending.redis.of("settle")]
    found = [tuple(args[at : at + 3]) for args in told for at in range(0, len(args), 3)]
    assert [each for each in found if each[0] == OTHER] == missed
    assert (DEVICE, "200", "0") in found


async def test_a_client_without_gruu_is_left_in_peace(sending: Sending) -> None:
    """It is no client of conferences: it gets plain messages."""
    sent = await invite(sending)
    await accept(sending, sent, "there", "Contact: <sip:bob@127.0.0.1:5071>")
    assert methods(sending) == ["INVITE", "ACK", "BYE"]
    assert outcomes(sending) == [(BOB, "488", "1")]
    await sending.reply(sending.wires.sent[2])
    assert reports(sending) == []


@pytest.mark.parametrize(
    "contact", ["Contact: <sip:mallory@127.0.0.1;gr=1>", "Contact: <sip:bob@127.0.0.1;gr=a,b>"]
)
async def test_nobody_is_taken_for_another_users_device(sending: Sending, contact: str) -> None:
    """A 2xx may come from anywhere a proxy has sent the INVITE to."""
    await accept(sending, await invite(sending), "there", contact)
    assert reports(sending) == []


async def test_a_2xx_that_makes_no_dialog_is_no_acceptance(sending: Sending) -> None:
    """RFC 3261 §12.1: without Contact. The user gets plain messages."""
    await accept(sending, await invite(sending), "there", "X: y")
    assert methods(sending) == ["INVITE"]
    assert outcomes(sending) == [(BOB, "488", "1")]


@pytest.mark.parametrize("to", [BOB, DEVICE])
async def test_a_telephone_that_answers_by_itself_is_left_in_peace(sending: Sending, to: str) -> None:
    """It offers media (RFC 3264), whatever its Contact, and would get nothing that it shows: ACK and BYE."""
    answer = (await invite(sending, to)).response(200, CONTACT, ROUTE, "Content-Type: application/sdp")
    for _ in range(2):
        sending.deliver.response(
            answer.replace(b"Content-Length: 0\r\n\r\n", b"Content-Length: 5\r\n\r\nv=0\r\n")
        )
        await sending.settle_down()
    assert methods(sending) == ["INVITE", "ACK", "BYE", "ACK"]
    assert outcomes(sending) == [(to, "488", "1")]
    assert reports(sending) == []


MALFORMED = {
    "To": [
        "<sip:x",
        "",
        f"<sip:{BOB}>;tag=a b",
        f"<sip:{BOB}>;tag=",
        f"<sip:{BOB}>;tag=a;tag=b",
        "<tel:+1>;tag=a",
    ],
    "From": ["<sip:x", "", "<mailto:x@y>;tag=1"],
    "Call-ID": ["a b", ""],
    "CSeq": ["1", "x INVITE", "1 BYE", "99999999999 INVITE"],
    "Via": ["", "SIP/2.0/UDP", "{},x"],
    "Contact": ["<sip:x", "*", "", "<tel:+1>", "<sip:x@127.0.0.1>, <sip:y@127.0.0.1>"],
    "Record-Route": ["<sip:x", "", "<tel:+1>", '"<'],
    "WWW-Authenticate": ["Digest", 'Digest realm="', "", "x"],
    "Retry-After": ["x", "", "-1", "9" * 30],
    "Content-Type": ["", "x"],
}


@pytest.mark.parametrize("status", [180, 200, 302, 401, 486, 503])
@pytest.mark.parametrize("name", MALFORMED)
async def test_no_header_of_a_response_is_an_error_of_ours(sending: Sending, status: int, name: str) -> None:
    """Headers are parsed when they are read first. Another response may follow, and the event ends."""
    with capture_logs() as logs:
        for number, value in enumerate(MALFORMED[name]):
            sent = await invite(sending, f"user{number}@127.0.0.1")
            lines = (
                sent.response(status, f"Contact: <sip:user{number}@127.0.0.1;gr=1>").decode().split("\r\n")
            )
            rest = [line for line in lines[1:] if line.partition(":")[0] != name]
            via = next(line for line in lines if line.startswith("Via: "))
            line = f"{name}: {value.replace('{}', via[5:])}"
            sending.deliver.response("\r\n".join([lines[0], line, *rest]).encode())
            await sending.settle_down()
            await sending.reply(sent, 486)
        await sending.pass_time(70.0)
    assert [line for line in logs if line["log_level"] == "error"] == []
    assert len(outcomes(sending)) == len(MALFORMED[name]) or status == 200
    assert sending.deliver.in_flight() == 0


async def test_what_rings_is_cancelled(sending: Sending) -> None:
    """A telephone: it must not ring for long (RFC 3261 §9.1), and gets plain messages."""
    sent = await invite(sending)
    await sending.reply(sent, 180)
    await sending.pass_time(3.0)
    cancel = sending.wires.sent[1].request
    assert (cancel.method, cancel.uri, cancel.via.branch) == ("CANCEL", f"sip:{BOB}", sent.request.via.branch)
    assert (cancel.cseq.number, cancel.headers.get("To")) == (1, f"<sip:{BOB}>")
    await sending.reply(sending.wires.sent[1])
    await sending.reply(sent, 487)
    assert "ACK" in methods(sending)
    assert outcomes(sending) == [(BOB, "488", "1")]


async def test_who_accepts_though_cancelled_has_accepted(sending: Sending) -> None:
    """RFC 3261 §9.1: the 200 may cross the CANCEL."""
    sent = await invite(sending)
    await sending.reply(sent, 180)
    await sending.pass_time(3.0)
    await accept(sending, sent)
    assert [report["device"] for report in reports(sending)] == [DEVICE]


async def test_an_invite_is_sent_again_over_udp_until_a_response_comes(sending: Sending) -> None:
    """Timer A, RFC 3261 §17.1.1.2."""
    sent = await invite(sending)
    await sending.pass_time(1.7)
    assert methods(sending) == ["INVITE"] * 3
    await sending.reply(sent, 100)
    await sending.pass_time(5.0)
    assert methods(sending) == ["INVITE"] * 3
    await accept(sending, sent)
    assert len(reports(sending)) == 1


async def test_silence_is_an_outcome(sending: Sending) -> None:
    """Timer B: the user is away, and is invited again later."""
    await invite(sending)
    await sending.pass_time(33.0)
    assert outcomes(sending) == [(BOB, "408", "1")]
    assert len(InviteTransactions(sending.wires, sending.deliver.context.wheel)) == 0


async def test_nobody_who_answers_a_cancel_is_away_too(sending: Sending) -> None:
    """The CANCEL is sent for as long as a request, then that is the end."""
    await sending.reply(await invite(sending), 183)
    await sending.pass_time(66.0)
    assert methods(sending).count("CANCEL") > 3
    assert outcomes(sending) == [(BOB, "488", "1")]


async def test_a_broken_transport_leads_to_the_next_target_or_an_outcome(sending: Sending) -> None:
    """RFC 3263 §4.3."""
    sending.wires.broken["udp", "127.0.0.1", 5060] = OSError("refused")
    await invite(sending)
    assert outcomes(sending) == [(BOB, "503", "1")]


async def test_an_invite_too_long_for_a_datagram_goes_over_tcp(sending: Sending) -> None:
    """RFC 3261 §18.1.1."""
    sent = await invite(sending, list=" ".join(f"user{number}@example.org" for number in range(99)))
    assert sent.hop.transport == "tcp"
    assert sent.request.via.transport == "TCP"


def _not_connected() -> OSError:
    error = OSError("not connected")
    error.__cause__ = ConnectionRefusedError()
    return error


@pytest.mark.parametrize("error", [_not_connected(), ConnectionResetError("broke")])
async def test_a_long_invite_goes_over_udp_if_tcp_is_refused(sending: Sending, error: Exception) -> None:
    """RFC 3261 §18.1.1: the one exception. A connection that the peer ends counts as refused."""
    sending.wires.broken["tcp", "127.0.0.1", 5060] = error
    sent = await invite(sending, list=" ".join(f"user{number}@example.org" for number in range(99)))
    assert [each.hop.transport for each in sending.wires.sent] == ["tcp", "udp"]
    assert len(sent.data) > 1300
    await sending.reply(sent, 486)
    assert outcomes(sending) == [(BOB, "486", "1")]


async def test_a_challenge_gets_credentials_once() -> None:
    """RFC 3261 §22.2: the next CSeq, a new branch, and an ACK with that CSeq."""
    async with Sending(on_loopback(credentials=["imc:secret@127.0.0.1"])) as sending:
        sent = await invite(sending)
        challenge = 'WWW-Authenticate: Digest realm="127.0.0.1", nonce="n", algorithm=MD5'
        await sending.reply(sent, 401, challenge)
        again = sending.wires.sent[-1]
        assert again.request.headers.get("Authorization")
        assert again.request.cseq.number == 2
        assert again.request.via.branch != sent.request.via.branch
        await sending.reply(sent, 401, challenge)
        assert sending.wires.sent[-1].request.cseq.number == 1, "the ACK once more"
        await accept(sending, again)
        assert sending.wires.sent[-1].request.cseq.number == 2
        other = await invite(sending, joined="1-0")
        await sending.reply(other, 401)
        assert outcomes(sending)[-1] == (BOB, "401", "1")


async def test_targets_that_may_not_be_used_are_an_outcome(sending: Sending) -> None:
    """As for deliveries."""
    await sending.event("invite", ("bob@192.0.2.7",))
    assert outcomes(sending) == [("bob@192.0.2.7", "403", "1")]


@pytest.mark.uncompiled  # a constant is replaced
async def test_few_invitations_are_in_flight(sending: Sending, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others wait for a final response."""
    monkeypatch.setattr(module, "MAX_IN_FLIGHT", 1)
    first = await invite(sending)
    await invite(sending, "carol@127.0.0.1")
    assert len(sending.wires.sent) == 1
    await sending.reply(first, 486)
    assert sending.wires.sent[-1].request.uri == "sip:carol@127.0.0.1"
    await sending.reply(sending.wires.sent[-1], 486)
    assert len(outcomes(sending)) == 2


@pytest.mark.uncompiled  # a constant is replaced
async def test_a_shard_that_is_lost_is_left_to_its_new_owner(
    sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has waited is not sent."""
    monkeypatch.setattr(module, "MAX_IN_FLIGHT", 1)
    first = await invite(sending)
    await invite(sending, "carol@127.0.0.1")
    sending.owner.shards = frozenset()
    sending.turn()
    await sending.reply(first, 486)
    assert methods(sending) == ["INVITE", "ACK"]


async def test_an_invite_of_a_lost_shard_is_not_sent_again(sending: Sending) -> None:
    """The new owner may invite its user anew, after a removal. Then this one would end that session."""
    sent = await invite(sending)
    sending.owner.shards = frozenset()
    await sending.pass_time(2.0)
    assert methods(sending) == ["INVITE"]
    sending.redis.about = {f"invitation:{BOB}": b"2-0"}
    await accept(sending, sent)
    assert methods(sending) == ["INVITE"], "the device ends its session, or accepts that of the new owner"
    assert reports(sending) == []


@pytest.mark.parametrize("is_known", [False, True])
async def test_who_accepts_when_the_shard_is_lost_is_let_in(sending: Sending, *, is_known: bool) -> None:
    """The new owner does not send the INVITE again if another device of the user has accepted it."""
    sent = await invite(sending)
    for tag in ("here", "there") if is_known else ():
        sending.redis.unreachable = True
        await accept(sending, sent, tag)
    sending.owner.shards = frozenset()
    sending.turn()
    await sending.until(lambda: not sending.deliver._invitations._reports)
    sending.redis.unreachable = False
    made = {"call_id": sent.request.call_id, "remote_tag": "here", "local_tag": "l"}
    made |= {"local_uri": "sip:r@e", "remote_uri": "sip:b@e", "target": "sip:b@e"}
    sending.redis.about = {f"invitation:{BOB}": b"1-0", f"dialog:{DEVICE}": json.dumps(made).encode()}
    for tag, contact in (("here", CONTACT), ("there", f"Contact: <sip:{OTHER}>")):
        for _ in range(2):
            await accept(sending, sent, tag, contact)
    assert methods(sending) == ["INVITE", "ACK", "ACK", "ACK", "ACK"]
    assert [(each["from"], each["device"], each["of"]) for each in reports(sending)] == [(BOB, OTHER, "1-0")]
    assert outcomes(sending) == []


async def test_an_invite_to_a_further_device_is_not_sent_again_either(sending: Sending) -> None:
    """Another device of the user has accepted."""
    first, second = await redirected(sending)
    await accept(sending, first)
    sending.turn()
    sending.owner.shards = frozenset()
    await sending.pass_time(2.0)
    assert [each.data for each in sending.wires.sent].count(second.data) == 1


async def test_a_report_that_could_not_be_written_for_long_is_dropped(sending: Sending) -> None:
    """RFC 3261 §13.3.1.4: without an ACK, the device has ended its session after 64*T1."""
    sent = await invite(sending)
    sending.redis.unreachable = True
    await accept(sending, sent)
    sending.clock.now += 33.0
    (invitation,) = sending.deliver._invitations._order.all_started()
    await sending.until(lambda: invitation._is_settled)
    sending.redis.unreachable = False
    await sending.until(lambda: sending.deliver.in_flight() == 0)
    assert (methods(sending), requests(sending)) == (["INVITE"], [])
    assert outcomes(sending) == [(BOB, "408", "1")]


@pytest.mark.parametrize("provisional", [False, True])
async def test_silence_after_a_shard_was_lost_is_no_outcome(sending: Sending, *, provisional: bool) -> None:
    """The new owner sends the INVITE, and has one."""
    sent = await invite(sending)
    if provisional:
        await sending.reply(sent, 100)
    sending.owner.shards = frozenset()
    await sending.pass_time(70.0)
    assert set(methods(sending)[1:]) == ({"CANCEL"} if provisional else set())
    assert outcomes(sending) == []
    assert len(sending.deliver._invitations.transactions) == 0


async def test_a_device_that_has_lost_its_session_is_told_in_a_new_one(sending: Sending) -> None:
    """Linphone forgets sessions at a restart, and shows the room on: INVITE, then BYE."""
    sending.redis.members[BOB] = None
    await sending.event("bye", (DEVICE,), dialog=dialog())
    await sending.reply(sending.wires.sent[0], 481)
    again = sending.wires.sent[1]
    assert (again.request.method, again.request.uri, again.request.body) == ("INVITE", GRUU, b"")
    await accept(sending, again)
    assert methods(sending) == ["BYE", "INVITE", "ACK", "BYE"]
    assert sending.wires.sent[3].request.to_tag == "there"
    await sending.reply(sending.wires.sent[3])
    assert reports(sending) == []
    assert [outcome for _, outcome, _ in outcomes(sending)] == ["481"]


@pytest.mark.parametrize("status", [200, 403])
async def test_the_worker_hears_of_a_bye_that_has_reached_its_device(sending: Sending, status: int) -> None:
    """The user may be a member again. Then the device is invited."""
    await sending.event("bye", (DEVICE,), dialog=dialog())
    await sending.reply(sending.wires.sent[0], status)
    assert outcomes(sending) == [(DEVICE, str(status), "1")]


async def test_a_device_is_told_once_in_a_while(sending: Sending) -> None:
    """It may ask for its rosters again at once, which leads to another BYE. One in a session is another."""
    sending.redis.members[BOB] = None
    for seconds, call_id in (
        (0.0, "gone-1"),
        (0.0, "gone-2"),
        (module.FAREWELL_SECONDS, "gone-3"),
        (0.0, "a session"),
    ):
        sending.clock.now += seconds
        await sending.event("bye", (DEVICE,), dialog=dialog(call_id=call_id))
        await sending.reply(sending.wires.sent[-1], 481)
        if sending.wires.sent[-1].request.method == "INVITE":
            await accept(sending, sending.wires.sent[-1])
            await sending.reply(sending.wires.sent[-1])
    told = ["INVITE", "BYE"]
    assert [each for each in methods(sending) if each != "ACK"] == [
        *("BYE", *told),
        "BYE",
        *("BYE", *told),
        *("BYE", *told),
    ]


async def test_a_device_that_was_not_told_is_told_the_next_time(sending: Sending) -> None:
    """It was away, or its user was a member again for a moment."""
    for value, is_sent in ((b"member", False), (None, True), (None, True)):
        sending.redis.members[BOB] = value
        await sending.event("bye", (DEVICE,), dialog=dialog(call_id="gone-1"))
        await sending.reply(sending.wires.sent[-1], 481)
        assert (sending.wires.sent[-1].request.method == "INVITE") == is_sent
        if is_sent:
            await sending.reply(sending.wires.sent[-1], 480)


@pytest.mark.parametrize("name", ["bye", "notify"])
async def test_a_device_that_gets_no_bye_or_notify_is_noted(sending: Sending, name: str) -> None:
    """Its user's return, whatever shows it, leads to the shard that keeps what it has missed."""
    roster = '{"full":true,"version":1}'
    await sending.event(name, (DEVICE,), dialog=dialog(), detail=roster)
    await sending.reply(sending.wires.sent[0], 480)
    note = ("SADD", (keys.away_shards(BOB),), (3,))
    assert [each if each[0] == "SADD" else each[0] for each in sending.redis.ran] == [note, "settle", note]
    assert outcomes(sending) == [(DEVICE, "480", "1")]


async def test_an_error_of_ours_ends_one_invitation(
    sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log has it, and the event is settled."""
    sent = await invite(sending)

    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Dialog, "of_response", fail)
    with capture_logs() as logs:
        await accept(sending, sent)
    assert [line["reason"] for line in logs if line["event"] == "delivery failed by an error"] == [
        "RuntimeError: a bug"
    ]
    assert [outcome for _, outcome, _ in outcomes(sending)] == ["error"]


async def test_a_user_whose_domain_leads_nowhere_is_away(
    sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server is asked, and nobody else waits for it."""
    next_hops = sending.deliver._invitations.next_hops
    monkeypatch.setattr(next_hops, "find", lambda uri, found: found(None))
    await sending.event("invite", ("bob@nowhere.example",))
    assert outcomes(sending) == [("bob@nowhere.example", "no-target", "1")]
    for found in (None, next_hops.known("sip:127.0.0.9")):
        sent = await invite(sending)
        monkeypatch.setattr(next_hops, "find", lambda uri, reached, found=found: reached(found))
        await accept(sending, sent, "there", CONTACT, "Record-Route: <sip:proxy.example;lr>")
    acks = [each.hop.host for each in sending.wires.sent if each.request.method == "ACK"]
    assert acks == ["127.0.0.9"], "a dialog that cannot be reached gets no ACK"


async def test_noise_is_stray(sending: Sending) -> None:
    """Responses that look like ones to an INVITE."""
    sent = await invite(sending)
    good = sent.response(200, CONTACT)
    branch = (sent.request.via.branch or "").encode()
    for data in (
        good.replace(b"1 INVITE", b"1 OPTIONS"),
        good.replace(b"Via: ", b"Via: SIP/2.0/UDP x;branch=" + branch + b"\r\nVia: ", 1),
        good.replace(b"SIP/2.0 200 ", b"SIP/2.0 xxx "),
        good.replace(branch, b"z9hG4bK" + b"0" * 34),
    ):
        sending.deliver.response(data)
    await sending.settle_down()
    assert methods(sending) == ["INVITE"]
    await sending.reply(sent, 486)


def test_the_table_knows_every_state() -> None:
    """Each transition leads to a state of the table."""
    after = {state for inputs in TRANSITIONS.values() for state, _ in inputs.values()}
    assert after <= TRANSITIONS.keys()


async def test_no_more_devices_accept_one_invite_than_a_user_has(sending: Sending) -> None:
    """A hostile client sends a 2xx with another tag again and again."""
    sent = await invite(sending)
    for number in range(100):
        sending.deliver.response(sent.response(200, CONTACT).replace(b";tag=there", b";tag=%d" % number))
    await sending.settle_down()
    assert len(reports(sending)) == methods(sending).count("ACK") == MAX_ACCEPTING


async def test_names_of_endless_length_are_taken_from_no_2xx(sending: Sending) -> None:
    """Neither a tag nor a device: Redis would keep them."""
    await accept(sending, await invite(sending), "x" * 300)
    await accept(sending, await invite(sending), "there", f"Contact: <sip:{BOB};gr={'x' * 300}>")
    assert reports(sending) == []
