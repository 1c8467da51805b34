"""INVITE, SUBSCRIBE, REFER, BYE and ACK of clients that show rooms as conferences (RFC 4579, RFC 4575).

Covers conference_rules.py and conference_commit.py.
"""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from imc_common.rooms.commands import CommandParser
from imc_common.rooms.request import RequestData, RoomRequest
from imc_common.sip import Response
from imc_common.store import StoreUnreachable
from imc_edge.conference.dialog import Dialog
from imc_edge.receiving import conference_rules, conferences
from tests.imc_edge.conference.requests import (
    DEVICE,
    FACTORY,
    GRUU,
    LISTS,
    ROOM,
    in_dialog_of_room,
    invite,
    request,
    resource_list,
    subscribe,
)
from tests.imc_edge.doubles import Edge, FakeFlow, data_of, edge, message
from tests.patience import PATIENCE

BOB, CAROL = "sip:bob@example.org", "sip:carol@example.org"


async def until(is_so: Callable[[], bool]) -> None:
    """Wait until this holds."""
    async with asyncio.timeout(PATIENCE):
        while not is_so():
            await asyncio.sleep(0.005)


async def answer(at: Edge, data: bytes, peer: str = "192.0.2.1") -> Response:
    """The last response to a request that is a task of its own."""
    flow = FakeFlow("tcp", (peer, 5062))
    at.acceptor.receive(data, flow)
    await until(lambda: bool(flow.sent))
    return flow.responses[-1]


def entry(at: Edge) -> RoomRequest:
    """The last request that went to a worker."""
    return at.store.entries[-1]  # type: ignore[no-any-return]


def dialog(at: Edge) -> dict[str, Any]:
    """The dialog in it."""
    found: dict[str, Any] = json.loads(entry(at).dialog)
    return found


# --- INVITE to the factory


async def test_an_invite_to_the_factory_makes_a_room_of_its_list() -> None:
    """RFC 4579 §5.4, RFC 5366: 200 with the room in Contact, once Redis has the request."""
    async with edge() as at:
        response = await answer(at, invite(BOB, CAROL, "sip:alice@example.org"))
        made = entry(at)
        assert (response.status, made.type, made.sender) == (200, "open_conference", "alice@example.org")
        assert made.room.startswith("chatroom-")
        assert made.room.endswith("@example.org")
        assert response.headers.get("Contact") == f"<sip:{made.room}>;isfocus;text"
        assert response.headers.get("Subject") == made.text == "Weekly meeting"
        assert (made.detail, made.device) == ("bob@example.org carol@example.org", DEVICE)
        assert response.headers.get_all("Record-Route") == ["<sip:192.0.2.1;lr>", "<sip:192.0.2.9;lr;ftag=1>"]


async def test_the_dialog_goes_along_with_the_request() -> None:
    """RFC 3261 §12.1.1: any edge can send the next request in it."""
    async with edge() as at:
        response = await answer(at, invite(BOB))
        assert dialog(at) == {
            "call_id": "a84b4c76e66710",
            "local_tag": response.to_tag,
            "remote_tag": "1928",
            "local_uri": FACTORY,
            "remote_uri": "sip:alice@example.org",
            "target": GRUU,
            "routes": ["<sip:192.0.2.1;lr>", "<sip:192.0.2.9;lr;ftag=1>"],
            "cseq": 0,
            "remote_cseq": 1,
            "state": "early",
        }


async def test_another_edge_gives_a_retransmission_the_same_answer() -> None:
    """RFC 3261 §8.2.7: room and tag follow from the request."""
    async with edge() as one, edge() as other:
        first, second = await answer(one, invite(BOB)), await answer(other, invite(BOB))
        assert first.headers.items == second.headers.items
        assert entry(one) == entry(other)
        again = await answer(one, invite(BOB))
        assert again.headers.items == first.headers.items


async def test_other_calls_make_other_rooms() -> None:
    """By Call-ID, From tag and sender."""
    async with edge() as at:
        rooms = set()
        for given in ({}, {"Call_ID": "x"}, {"From": "<sip:alice@example.org>;tag=2"}):
            await answer(at, invite(BOB, **given))
            rooms.add(entry(at).room)
        assert len(rooms) == 3


async def test_a_secure_request_gets_a_secure_contact() -> None:
    """RFC 3261 §12.1.1."""
    async with edge() as at:
        for data in (
            invite(BOB, uri=FACTORY.replace("sip:", "sips:")),
            request("INVITE", f"SIPS:{ROOM}"),
            subscribe(f"sips:{ROOM}", Call_ID="s"),
            request("REFER", f"sips:{ROOM}", Refer_To=f"<{BOB}>", Call_ID="r"),
        ):
            response = await answer(at, data)
            assert (response.headers.get("Contact") or "").startswith(f"<sips:{entry(at).room}>;isfocus")


async def test_a_list_subscription_may_require_what_it_is() -> None:
    """RFC 4662 §4.1."""
    async with edge() as at:
        required = "recipient-list-subscribe, eventlist"
        data = subscribe(FACTORY, resource_list(f"sip:{ROOM}"), Require=required)
        assert (await answer(at, data)).status == 200


async def test_what_linphone_marks_a_room_with_goes_to_its_invitees() -> None:
    """It comes back in the answer, too."""
    async with edge() as at:
        response = await answer(at, invite(BOB, **{"One-To-One-Chat-Room": "true", "Ephemerable": "x" * 99}))
        assert data_of(entry(at)).headers == (("One-To-One-Chat-Room", "true"),)
        assert response.headers.get("One-To-One-Chat-Room") == "true"
        assert response.headers.get("Ephemerable") is None


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(invite(BOB, Require="100rel"), 420, id="an extension that is not supported"),
        pytest.param(invite(BOB, Max_Forwards="0"), 483, id="Max-Forwards"),
        pytest.param(invite(BOB, Contact="<sip:alice@192.0.2.5>"), 421, id="no GRUU"),
        pytest.param(
            invite(BOB, Contact="<sip:mallory@example.org;gr=urn:uuid:1>"), 421, id="the GRUU of another user"
        ),
        pytest.param(
            invite(BOB, From=f"<{GRUU}>;tag=1", Contact="<sip:victim@192.0.2.77>"),
            403,
            id="a foreign Contact",
        ),
        pytest.param(invite(BOB, Content_Type="application/sdp"), 488, id="a telephone call"),
        pytest.param(invite("tel:+1"), 400, id="an invitee without SIP address"),
        pytest.param(invite(FACTORY), 400, id="the factory as invitee"),
        pytest.param(invite(BOB, uri="sip:conference-factory@elsewhere.org"), 404, id="a foreign domain"),
        pytest.param(request("INVITE", FACTORY, b"<x", Content_Type=LISTS), 400, id="broken XML"),
        pytest.param(
            request(
                "INVITE",
                FACTORY,
                b'<!DOCTYPE x [<!ENTITY a "b">]>' + resource_list(BOB),
                Content_Type=LISTS,
            ),
            400,
            id="XML with entities",
        ),
        pytest.param(invite(*(f"sip:u{number}@e.org" for number in range(1200))), 413, id="a list too long"),
        pytest.param(
            invite(*(f"sip:u{number}@example.org" for number in range(9))), 403, id="too many members"
        ),
    ],
)
async def test_what_cannot_be_a_new_room_is_refused(data: bytes, status: int) -> None:
    """And no worker hears of it."""
    async with edge(domains=["example.org"], max_members=9, max_body=65_535) as at:
        flow = FakeFlow("tcp", ("192.0.2.1", 5062))
        at.acceptor.receive(data, flow)
        await until(lambda: bool(flow.sent))
        assert flow.responses[-1].status == status
        assert at.store.entries == []


async def test_each_invitee_counts_as_an_invitation() -> None:
    """A list is no way around the limit (`max_invitations_per_hour`)."""
    async with edge(max_invitations_per_hour=2) as at:
        charge = at.store.script("charge_invitation", (), ())[1]
        replies = [[60_000, 1]]

        def reply(command: Any) -> Any:
            return replies.pop(0) if command[1] == charge else at.store.remember(command)

        at.store.reply = reply
        response = await answer(at, invite(BOB, CAROL))
        assert (response.status, response.headers.get("Retry-After")) == (403, "60")
        assert at.store.entries == []


@pytest.mark.parametrize(
    ("limits", "invited"),
    [
        ({"max_invitations_per_hour": 1}, (BOB, CAROL)),
        ({"max_invitations_per_target": 1}, (BOB, BOB.replace("bob", "Bob"))),
    ],
)
async def test_a_list_longer_than_the_limit_of_invitations_costs_none(
    limits: dict[str, int], invited: tuple[str, str]
) -> None:
    """It could never be accepted, and the user could then invite nobody for an hour."""
    async with edge(**limits) as at:
        charge = at.store.script("charge_invitation", (), ())[1]
        response = await answer(at, invite(*invited))
        assert (response.status, response.headers.get("Retry-After")) == (403, None)
        assert charge not in [command[1] for batch in at.store.batches for command in batch]
        assert (await answer(at, invite(BOB, Call_ID="shorter"))).status == 200


async def test_a_group_of_200_may_be_invited_at_once_by_default() -> None:
    """A club or a school class needs no setting."""
    users = [f"sip:user{number}@example.org" for number in range(201)]
    async with edge() as at:
        for invited, status in ((users[:200], 200), (users, 403)):
            packed = zlib.compress(resource_list(*invited))
            more = {"Content_Type": LISTS, "Content_Encoding": "deflate", "Call_ID": str(len(invited))}
            assert (await answer(at, request("INVITE", FACTORY, packed, **more))).status == status


@pytest.mark.parametrize(("owned", "most", "status"), [(1, 17, 200), (1, 16, 403), (9, 0, 200)])
async def test_who_owns_as_many_rooms_as_allowed_makes_no_more(owned: int, most: int, status: int) -> None:
    """Counted over the 16 shards, before the invitations. A worker would refuse it only after the 200."""
    async with edge(max_rooms_per_owner=most, max_invitations_per_hour=30) as at:
        asked: list[Any] = []

        def reply(command: Any) -> Any:
            asked.append(command)
            return owned if command[0] == "SCARD" else at.store.remember(command)

        at.store.reply = reply
        response = await answer(at, invite(BOB, CAROL))
        assert response.status == status
        assert [each for each in asked if each[0] == "SCARD"] == [
            ("SCARD", f"imc:{{{shard}}}:owned_rooms:alice@example.org") for shard in range(16 if most else 0)
        ]
        charge = at.store.script("charge_invitation", (), ())[1]
        assert (charge in [each[1] for each in asked]) == (status == 200)


async def test_a_list_that_comes_again_costs_no_further_invitations() -> None:
    """As from a proxy that got no answer from the first edge. Redis recognises the last invitation only."""
    async with edge(max_invitations_per_hour=30) as at, edge(at.store, max_invitations_per_hour=30) as other:
        charge = at.store.script("charge_invitation", (), ())[1]
        charged = []

        def reply(command: Any) -> Any:
            if command[1] == charge:
                charged.append(command)
                return [0, 0]
            return at.store.remember(command)

        at.store.reply = reply
        for each in (at, other):
            assert (await answer(each, invite(BOB, CAROL))).status == 200
        assert len(charged) == 1


async def test_a_list_is_charged_at_once() -> None:
    """All of its users, or none: the ports of one user count as one."""
    async with edge(max_invitations_per_hour=30) as at:
        charge = at.store.script("charge_invitation", (), ())[1]
        assert (await answer(at, invite(BOB, CAROL))).status == 200
        (command,) = [each for batch in at.store.batches for each in batch if each[1] == charge]
        assert command[2] == 3
        assert command[-4:] == (30, 10, 1, 1)


async def test_without_a_factory_edges_take_no_dialogs() -> None:
    """`conference_factory` empty: as before there was group chat."""
    async with edge(conference_factory="") as at:
        for method in ("INVITE", "SUBSCRIBE", "REFER", "BYE"):
            response = await at.ask_one(message(b"", method=method))
            assert response.status == 405
            assert response.headers.get("Allow") == "MESSAGE, OPTIONS, CANCEL, REGISTER"


async def test_an_untrusted_peer_vouches_for_nobody() -> None:
    """As with MESSAGE (RFC 3325 §5)."""
    async with edge() as at:
        assert (await at.ask_one(invite(BOB), peer="198.51.100.1")).status == 403


async def test_while_redis_is_unreachable_clients_have_to_come_again() -> None:
    """No 200 before Redis has the request."""

    def fail(command: object) -> object:
        raise StoreUnreachable("gone")

    async with edge() as at:
        at.store.reply = fail
        for data in (invite(BOB), subscribe(), subscribe(FACTORY, resource_list(f"sip:{ROOM}"))):
            assert (await answer(at, data)).status == 503
        at.health.drain()
        assert (await answer(at, invite(BOB))).status == 503


# --- in a room


async def test_a_member_enters_a_room_and_changes_its_subject() -> None:
    """RFC 4579 §5.1, RFC 3261 §14."""
    async with edge() as at:
        response = await answer(at, request("INVITE"))
        assert (response.status, response.headers.get("Contact")) == (200, f"<sip:{ROOM}>;isfocus;text")
        assert (entry(at).type, entry(at).device) == ("enter_conference", DEVICE)
        to = f"<sip:{ROOM}>;tag={response.to_tag}"
        changed = await answer(at, request("INVITE", To=to, CSeq="2 INVITE", Subject="New\tone"))
        assert (changed.status, changed.headers.get("Subject")) == (200, "New one")
        assert (entry(at).type, entry(at).text, entry(at).room) == ("topic", "New one", ROOM)
        count = len(at.store.entries)
        refreshed = await answer(at, request("INVITE", To=to, CSeq="3 INVITE"))
        assert (refreshed.status, len(at.store.entries)) == (200, count)
        assert refreshed.headers.get("Contact") == f"<sip:{ROOM}>;isfocus;text", "RFC 3261 table 2"
        answers = at.acceptor.conferences._answers
        assert len(answers) == 3, "each 200 is sent again until its ACK comes (§13.3.1.4)"
        assert await at.ask(request("ACK", To=to, CSeq="3 ACK")) == []
        assert len(answers) == 2


@pytest.mark.parametrize("by", [DEVICE, "alice@example.org"])
@pytest.mark.parametrize("subject", ["New", None])
async def test_an_administrator_whom_the_room_has_invited_changes_its_subject(
    by: str, subject: str | None
) -> None:
    """In the dialog of the room's INVITE. The 200 is sent again until the ACK comes, at whichever edge."""
    async with edge() as at, edge() as other:
        answers = at.acceptor.conferences._answers
        for number in (2, 3):
            headers = {"Subject": f"{subject} {number}"} if subject else {}
            change = in_dialog_of_room("INVITE", by, CSeq=f"{number} INVITE", **headers)
            assert (await answer(at, change)).status == 200
            assert len(answers) == 1
            ack = in_dialog_of_room("ACK", by, CSeq=f"{number} ACK")
            for each in (at, other):
                assert await each.ask(ack) == []
            told = [str(c[2]).encode() for batch in other.store.batches for c in batch if c[0] == "PUBLISH"]
            at.acceptor.conferences.heard(told[-1])
            assert len(answers) == 0
        await at.ask(in_dialog_of_room("ACK", by, CSeq="9 ACK"))
        assert {each.type for each in at.store.entries} <= {"topic"}
        assert (await answer(at, in_dialog_of_room("BYE", by, CSeq="4 BYE"))).status == 200
        assert entry(at).type == "exit"


@pytest.mark.parametrize(
    ("subject", "topic"),
    [
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        ),
        ("\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f468\u200d\U0001f469\u200d\U0001f467"),
        ("Déjeuner\u00a0?", "Déjeuner ?"),
        ("x" * 200, "x" * 200),
        ("x" * 201, None),
        ("a\u202eb", None),
    ],
)
async def test_a_subject_is_what_a_topic_may_be(subject: str, topic: str | None) -> None:
    """Joiners make words and emoji. What `#topic` refuses is not changed silently."""
    async with edge() as at:
        change = request("INVITE", To=f"<sip:{ROOM}>;tag=OURS", CSeq="2 INVITE", Subject=subject)
        assert (await answer(at, invite(BOB, Subject=subject))).status == (200 if topic else 400)
        changed = await answer(at, change)
        assert (changed.status, "Warning" in changed.headers) == (200, topic is None)
        assert changed.headers.get("Subject") == topic
        assert [each.text for each in at.store.entries] == ([topic, topic] if topic else [])
        parsed = CommandParser(at.settings).parse(f"#topic {subject}".encode(), ROOM)
        assert (parsed.text, parsed.reason) == ((topic, "") if topic else ("", "bad_text"))


@pytest.mark.parametrize(
    ("headers", "kept", "why"),
    [
        ({"Subject": ""}, None, "A room keeps its subject"),
        ({"Subject": "Media change"}, None, "A room keeps its subject"),
        ({"Subject": "x" * 201}, None, "A subject has at most 200 characters, all of them readable"),
        ({"Ephemeral-Life-Time": "60"}, None, "The lifetime of messages cannot be changed"),
        (
            {"Ephemeral-Life-Time": "60", "Subject": "New"},
            "3600",
            "The lifetime of messages cannot be changed",
        ),
        ({"Ephemeral-Life-Time": "3600", "Subject": "New"}, "3600", ""),
        ({"Ephemerable": "true", "Subject": "New"}, None, ""),
    ],
)
async def test_what_a_room_cannot_change_ends_no_session(
    headers: dict[str, str], kept: str | None, why: str
) -> None:
    """Linphone takes a refusal for the end of the session. Each INVITE names the lifetime that it knows."""
    async with edge() as at:
        if kept is not None:
            at.store.conference = RequestData(headers=(("Ephemeral-Life-Time", kept),)).pack()
        change = request("INVITE", To=f"<sip:{ROOM}>;tag=OURS", CSeq="2 INVITE", **headers)
        response = await answer(at, change)
        assert response.status == 200
        assert response.headers.get("Warning") == (f'399 imc "{why}"' if why else None)
        assert len(at.store.entries) == (not why)
        assert response.headers.get("Subject") == (None if why else "New")


async def test_a_list_with_users_whom_others_must_not_see_is_refused() -> None:
    """RFC 5364: everybody sees all members. Other copies of a message are as good as these."""
    async with edge() as at:
        for attribute, status in (
            ('copyControl="bcc"', 488),
            ('anonymize="true"', 488),
            ('copyControl="cc"', 200),
        ):
            control = f'uri="{BOB}" xmlns:cp="urn:ietf:params:xml:ns:copycontrol" cp:{attribute}'
            body = resource_list(BOB).replace(f'uri="{BOB}"'.encode(), control.encode())
            data = request("INVITE", FACTORY, body, Content_Type=LISTS, Call_ID=attribute[-4:-1])
            assert (await answer(at, data)).status == status


@pytest.mark.parametrize("method", ["INVITE", "BYE", "REFER", "OPTIONS"])
async def test_a_dialog_that_no_edge_knows_gets_481(method: str) -> None:
    """RFC 3261 §12.2.2, §15.1.2. Whoever sends it stays a member."""
    async with edge() as at:
        more = {"Subject": "New", "Refer_To": f"<{BOB}>"}
        for data in (
            request(method, To=f"<sip:{ROOM}>;tag=guessed", **more),
            in_dialog_of_room(method, From="<sip:mallory@example.org>;tag=1", **more),
            *([request("BYE")] if method == "BYE" else []),
        ):
            assert (await answer(at, data)).status == 481
        assert at.store.entries == []
        if method == "OPTIONS":
            assert (await answer(at, request(method, To=f"<sip:{ROOM}>;tag=OURS"))).status == 200


@pytest.mark.parametrize("role", [b"owner", b"admin", b"member"])
async def test_a_client_without_a_session_changes_the_subject_by_entering(role: bytes) -> None:
    """As Linphone after a restart. A copy of the INVITE has the same answer, and changes nothing."""
    async with edge() as at:
        at.store.roles[ROOM] = role
        first, again = [await answer(at, request("INVITE", Subject="New")) for _ in range(2)]
        assert (first.status, first.headers.items) == (200, again.headers.items)
        kinds = [(each.type, each.text) for each in at.store.entries]
        change = [] if role == b"member" else [("topic", "New")]
        assert kinds == [("enter_conference", ""), *change, ("enter_conference", "")], "Redis drops the last"
        long = await answer(at, request("INVITE", Subject="x" * 201, Call_ID="x"))
        assert (long.status, "Warning" in long.headers) == (200, True)
        assert [each.type for each in at.store.entries][len(kinds) :] == ["enter_conference"]


SDP = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
PHONE = f"<{GRUU}>"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(request("INVITE", body=SDP, Content_Type="application/sdp", Contact=PHONE), id="a call"),
        pytest.param(request("INVITE", body=SDP, Content_Type="application/sdp"), id="from a group chat"),
        pytest.param(
            request("INVITE", body=b"--x", Content_Type="multipart/mixed;boundary=x"), id="with several parts"
        ),
        pytest.param(request("INVITE", Contact=PHONE), id="that asks for an offer"),
        pytest.param(
            request("INVITE", body=SDP, Content_Type="application/sdp", Contact="<sip:alice@192.0.2.5>"),
            id="from a device without GRUU",
        ),
        pytest.param(request("INVITE", FACTORY, Contact=PHONE), id="to the factory"),
        pytest.param(
            request("INVITE", FACTORY, SDP, Content_Type="application/sdp"),
            id="to the factory, with an offer",
        ),
    ],
)
async def test_a_telephone_call_is_refused(data: bytes) -> None:
    """RFC 3261 §13.3.1, RFC 3264. A session would end the membership when the user hangs up."""
    async with edge() as at:
        assert (await answer(at, data)).status == 488
        assert at.store.entries == []


async def test_a_session_goes_on_without_the_media_that_a_client_offers() -> None:
    """RFC 3261 §14.2. A body that may be ignored is ignored."""
    async with edge() as at:
        entered = await answer(at, request("INVITE", Contact=f'{PHONE};+org.linphone.specs="groupchat/1.1"'))
        about = {
            "To": f"<sip:{ROOM}>;tag={entered.to_tag}",
            "Content_Type": "application/sdp",
            "Subject": "New",
        }
        offer = request("INVITE", body=SDP, CSeq="2 INVITE", **about)
        assert (await answer(at, offer)).status == 488
        assert [each.type for each in at.store.entries] == ["enter_conference"]
        optional = request(
            "INVITE", body=SDP, CSeq="3 INVITE", Content_Disposition="session; handling=optional", **about
        )
        assert (await answer(at, optional)).status == 200


async def test_a_user_leaves_by_bye() -> None:
    """A session that Redis does not know gets 481 (RFC 3261 §12.2.2)."""
    async with edge() as at:
        bye = request("BYE", To=f"<sip:{ROOM}>;tag=OURS", without=["Contact"])
        left = await answer(at, bye)
        assert left.status == 200
        assert (entry(at).type, entry(at).device) == ("exit", DEVICE)
        ids = {"call_id": "a84b4c76e66710", "local_tag": left.to_tag, "remote_tag": "1928"}
        assert dialog(at) == ids, "by this a worker tells it from a typed command"
        at.store.roles[ROOM] = b"none"
        assert (await answer(at, request("BYE", To=f"<sip:{ROOM}>;tag=OURS", Call_ID="y"))).status == 481


@pytest.mark.parametrize(
    ("refer_to", "wanted"),
    [
        (f"<{BOB}>;text", ("add", "bob@example.org", "")),
        (f"<{BOB};method=BYE>;text", ("remove", "bob@example.org", "")),
        (f"<{BOB}>;text;admin=true", ("modify", "bob@example.org", "admin")),
        (f"<{BOB}>;text;admin=false", ("modify", "bob@example.org", "member")),
    ],
)
async def test_refer_is_a_command(refer_to: str, wanted: tuple[str, str, str]) -> None:
    """RFC 4579 §5.5; without a subscription, which RFC 4488 says to clients that have asked for it."""
    async with edge() as at:
        response = await answer(at, request("REFER", Refer_To=refer_to))
        assert (response.status, response.headers.get("Refer-Sub")) == (202, None)
        assert response.headers.get("Contact") == f"<sip:{ROOM}>;isfocus"
        assert (entry(at).type, entry(at).user, entry(at).role) == wanted
        assert (entry(at).sender, entry(at).room) == ("alice@example.org", ROOM)


@pytest.mark.parametrize("refer_to", ["", "<tel:+1>", f"<{BOB}?Subject=x>", f"<{FACTORY}>;text", "<sip:x"])
async def test_a_refer_that_names_no_user_is_refused(refer_to: str) -> None:
    """RFC 3515 §2.4.2."""
    async with edge() as at:
        data = request("REFER", **({"Refer_To": refer_to} if refer_to else {}))
        assert (await answer(at, data)).status == 400
        assert at.store.entries == []


@pytest.mark.parametrize(
    "lines",
    [
        [f"Refer-To: <{CAROL}>"],
        [f"Refer-To: <{BOB}>, <{CAROL}>"],
        ["Refer-To: <cid:list@example.org>", "Require: multiple-refer"],
    ],
)
async def test_a_refer_names_one_user(lines: list[str]) -> None:
    """Not several, and no list of them (RFC 5368)."""
    async with edge() as at:
        refer_to = {} if "," in lines[0] or "cid:" in lines[0] else {"Refer_To": f"<{BOB}>"}
        response = await answer(at, request("REFER", lines=lines, **refer_to))
        assert response.status == (420 if len(lines) > 1 else 400)
        assert at.store.entries == []


@pytest.mark.parametrize("tag", ["norefersub", "nosub", "gruu", "norefersub, gruu"])
async def test_a_client_may_require_that_a_refer_makes_no_subscription(tag: str) -> None:
    """RFC 4488, RFC 7614: none is made."""
    async with edge() as at:
        response = await answer(at, request("REFER", Refer_To=f"<{BOB}>", Require=tag, Refer_Sub="false"))
        assert (response.status, response.headers.get("Refer-Sub")) == (202, "false")
        assert set(tag.split(", ")) <= set(response.tokens("Supported"))
        other = await answer(at, request("REFER", Refer_To=f"<{BOB}>", Require="explicitsub", Call_ID="x"))
        assert (other.status, other.headers.get("Unsupported")) == (420, "explicitsub")


async def test_what_an_admin_may_not_do_to_a_user_gets_403() -> None:
    """Not 202 and a notice. A copy of a request that was allowed then gets its 202."""
    async with edge() as at:
        at.store.forbidden |= {"carol@example.org"}
        refused = await answer(at, request("REFER", Refer_To=f"<{CAROL};method=BYE>"))
        assert refused.status == 403
        assert at.store.entries == []
        refer = request("REFER", Refer_To=f"<{BOB}>", Call_ID="x")
        assert (await answer(at, refer)).status == 202
        at.store.forbidden |= {"bob@example.org"}
        assert (await answer(at, refer)).status == 202


async def test_a_plain_member_changes_nothing() -> None:
    """Neither who is in the room nor its subject."""
    async with edge() as at:
        at.store.roles[ROOM] = b"member"
        assert (await answer(at, request("REFER", Refer_To=f"<{BOB}>"))).status == 403
        change = request("INVITE", To=f"<{FACTORY}>;tag=OURS", Subject="mine", CSeq="2 INVITE")
        assert (await answer(at, change)).status == 403
        assert at.store.entries == []


@pytest.mark.parametrize(("role", "status"), [(b"none", 403), (b"private", 404), (b"unknown", 404)])
async def test_strangers_learn_nothing_of_a_private_room(role: bytes, status: int) -> None:
    """It looks like one that does not exist."""
    async with edge() as at:
        at.store.roles[ROOM] = role
        for data in (subscribe(), request("INVITE"), request("REFER", Refer_To=f"<{BOB}>")):
            assert (await answer(at, data)).status == status
        assert at.store.entries == []


async def test_methods_that_the_factory_does_not_know_get_405() -> None:
    """It is no room."""
    async with edge() as at:
        for method in ("BYE", "REFER"):
            assert (await answer(at, request(method, FACTORY))).status == 405


def looks_that_find(at: Edge, role: bytes) -> list[Any]:
    """Have each look for a member of a room find this; returns the looks, as they come."""
    look, looks = at.store.script("look_up_member", (), ())[1], []

    def reply(command: Any) -> Any:
        if command[1] != look:
            return at.store.remember(command)
        looks.append(command)
        return role

    at.store.reply = reply
    return looks


@pytest.mark.parametrize("role", [b"private", b"unknown"])
async def test_a_hidden_room_looks_like_none(role: bytes) -> None:
    """A private room of others must not be known by another answer, or by how often it is looked for."""
    async with edge() as at:
        looks = looks_that_find(at, role)
        assert (await answer(at, subscribe("sip:chatroom-1@example.org"))).status == 404
        assert len(looks) == 1


# --- SUBSCRIBE


async def test_a_member_subscribes_to_the_roster() -> None:
    """RFC 4575: with the version that the client knows."""
    async with edge() as at:
        response = await answer(at, subscribe(**{"Last-Notify-Version": "3"}))
        assert (response.status, response.headers.get("Expires")) == (200, "600")
        assert response.headers.get("Contact") == f"<sip:{ROOM}>;isfocus"
        assert (entry(at).type, entry(at).detail, entry(at).device) == ("subscribe", "600 3", DEVICE)
        assert (dialog(at)["local_tag"], dialog(at)["target"]) == (response.to_tag, GRUU)
        refresh = subscribe(To=f"<sip:{ROOM}>;tag={response.to_tag}", CSeq="2 SUBSCRIBE", Expires="0")
        assert (await answer(at, refresh)).status == 200
        assert entry(at).detail == "0 0"


@pytest.mark.parametrize("is_list", [True, False])
@pytest.mark.parametrize(
    ("event", "event_id"),
    [("conference;id=77", "77"), ("conference ; x=y ; ID = a-b", "a-b"), ("Conference", "")],
)
async def test_each_notify_will_have_the_id_of_the_subscription(
    event: str, event_id: str, is_list: bool
) -> None:
    """RFC 6665 §8.2.1: of the latest SUBSCRIBE."""
    async with edge() as at:
        about = (FACTORY, resource_list(f"sip:{ROOM}")) if is_list else (f"sip:{ROOM}", b"")
        assert (await answer(at, subscribe(*about, Event=event))).status == 200
        assert Dialog.parse(entry(at).dialog).event_id == event_id
        for wrong in ("conference;id=a b", "conference;id", 'conference;id="', "conference;id=" + "x" * 99):
            assert (await answer(at, subscribe(*about, Event=wrong, Call_ID="z"))).status == 400


async def test_a_subscription_that_is_not_ours_gets_481() -> None:
    """RFC 6665 §4.4.1: the client makes a new one."""
    async with edge() as at:
        assert (await answer(at, subscribe(To=f"<sip:{ROOM}>;tag=guessed"))).status == 481


@pytest.mark.parametrize(
    ("headers", "status", "header"),
    [
        ({"Event": "presence"}, 489, ("Allow-Events", "conference")),
        ({"Accept": "application/pidf+xml"}, 406, ("Accept", "application/conference-info+xml")),
        ({"Contact": "*"}, 400, ("", "")),
        ({"Contact": "<sip:alice@192.0.2.1>;+sip.instance=urn:x", "Call_ID": "z"}, 403, ("", "")),
    ],
)
async def test_other_subscriptions_are_refused(
    headers: dict[str, str], status: int, header: tuple[str, str]
) -> None:
    """RFC 6665 §8.3.2, RFC 3261 §21.4.7; notifications go to the user's GRUU only."""
    async with edge() as at:
        response = await answer(at, subscribe(**headers))
        assert response.status == status
        assert not header[0] or response.headers.get(header[0]) == header[1]
        assert at.store.entries == []


async def test_a_subscription_lasts_an_hour_at_most() -> None:
    """Redis keeps it for as long."""
    async with edge() as at:
        assert (await answer(at, subscribe(Expires="999999"))).headers.get("Expires") == "3600"


async def test_one_subscription_to_many_rooms() -> None:
    """RFC 5367: each with the version that the client knows of it.

    Of a room that is not the user's, the client learns just that, and nothing of whether it exists.
    """
    async with edge() as at:
        at.store.roles["chat-001@example.org"] = b"none"
        at.store.roles["chat-003@example.org"] = b"unknown"
        rooms = [
            f"sip:{ROOM};Last-Notify=4",
            "sip:chat-001@example.org",
            "sip:chat-002@example.org",
            "sip:chat-003@example.org",
            "tel:+1",
        ]
        response = await answer(at, subscribe(FACTORY, resource_list(*rooms)))
        assert (response.status, response.headers.get("Contact")) == (200, f"<{FACTORY}>;isfocus")
        assert response.headers.get("Require") == "eventlist", "RFC 4662 §4.2"
        found = {each.room: each.detail for each in at.store.entries}
        assert found == {
            ROOM: "600 4 list",
            "chat-001@example.org": "600 0 list",
            "chat-002@example.org": "600 0 list",
            "chat-003@example.org": "600 0 list",
        }
        assert dialog(at)["list"] is True


async def test_a_list_of_many_rooms_of_others_tells_of_some() -> None:
    """Each costs requests to the device that asks, and to itself only."""
    async with edge(max_messages_per_second=0) as at:
        rooms = [f"chat-{number:03}@example.org" for number in range(2 * conferences.MAX_GONE)]
        at.store.roles |= dict.fromkeys(rooms, b"private")
        response = await answer(at, subscribe(FACTORY, resource_list(*(f"sip:{room}" for room in rooms))))
        assert (response.status, len(at.store.entries)) == (200, conferences.MAX_GONE)


async def test_an_empty_list_gets_404() -> None:
    """Linphone sends none if it knows no room. The end of a subscription is confirmed even so."""
    async with edge() as at:
        at.store.roles[ROOM] = b"private"
        assert (await answer(at, subscribe(FACTORY, resource_list("tel:+1")))).status == 404
        ours = (await answer(at, subscribe(FACTORY, resource_list("sip:chat-002@example.org")))).to_tag
        rooms = resource_list(f"sip:{ROOM}")
        ended = subscribe(FACTORY, rooms, To=f"<{FACTORY}>;tag={ours}", CSeq="2 SUBSCRIBE", Expires="0")
        assert (await answer(at, ended)).status == 200
        assert [each.room for each in at.store.entries] == ["chat-002@example.org"]


async def test_a_client_may_subscribe_before_a_worker_has_made_its_room() -> None:
    """Linphone subscribes as soon as it has the 200, and only then. Perhaps no worker runs for a while."""
    async with edge() as at:
        await answer(at, invite(BOB))
        room = entry(at).room
        at.store.roles[room] = b"unknown"
        assert (await answer(at, subscribe(f"sip:{room}"))).status == 200
        assert entry(at).type == "subscribe"
        refer = request("REFER", f"sip:{room}", Refer_To=f"<{CAROL}>", Call_ID="r")
        assert (await answer(at, refer)).status == 202
        assert [each.type for each in at.store.entries] == ["open_conference", "subscribe", "add"]


async def test_nobody_else_is_let_in_before_a_worker_has_made_a_room() -> None:
    """Nor does a request count that Redis does not have."""
    async with edge() as at:
        await answer(at, invite(BOB))
        room = entry(at).room
        at.store.roles[room] = b"unknown"
        mallory = {"From": "<sip:mallory@example.org>;tag=1", "Contact": "<sip:mallory@example.org;gr=1>"}
        assert (await answer(at, subscribe(f"sip:{room}", Call_ID="m", **mallory))).status == 404
        at.store.reply = lambda command: None if command[0] == "SET" else at.store.remember(command)
        assert (await answer(at, invite(BOB, Call_ID="2"))).status == 503


@pytest.mark.uncompiled  # a function is replaced
@pytest.mark.parametrize("data", [invite(BOB), subscribe(FACTORY, resource_list(f"sip:{ROOM}"))])
async def test_the_list_of_a_sender_over_the_limit_is_not_read(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have a thousand entries, and is not what a limit is checked after."""
    read: list[bytes] = []
    monkeypatch.setattr(conference_rules, "listed_uris", lambda document: read.append(document) or [])
    async with edge(max_commands_per_minute=8) as at:
        charge = at.store.script("charge_budget", (), ())[1]
        at.store.reply = lambda command: 60_000 if command[1] == charge else at.store.remember(command)
        await answer(at, subscribe(Call_ID="first"))
        read.clear()
        assert (await answer(at, data)).status == 403
        assert read == []


async def test_a_sender_over_the_limit_makes_redis_look_for_nothing() -> None:
    """A list of rooms may be long. What was accepted before keeps its answer."""
    async with edge(max_commands_per_minute=8) as at:
        charge = at.store.script("charge_budget", (), ())[1]
        rooms = resource_list(*(f"sip:room{number}@example.org" for number in range(99)))
        first = await answer(at, subscribe(Call_ID="first"))
        at.store.reply = lambda command: 60_000 if command[1] == charge else at.store.remember(command)
        await answer(at, subscribe(Call_ID="second"))
        count = len(at.store.batches)
        refused = await answer(at, subscribe(FACTORY, rooms))
        assert (refused.status, refused.headers.get("Retry-After")) == (403, "60")
        assert sum(map(len, at.store.batches[count:])) == 1, "whether it is a retransmission"
        again = await answer(at, subscribe(Call_ID="first"))
        assert (again.status, again.headers.items) == (200, first.headers.items)


@pytest.mark.uncompiled  # a constant is replaced
async def test_requests_beyond_what_an_edge_handles_at_a_time_come_again_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """503 at once: each is a task."""
    monkeypatch.setattr(conferences, "MAX_TASKS", 0)
    async with edge() as at:
        assert (await answer(at, subscribe())).status == 503


@pytest.mark.uncompiled  # a constant is replaced
async def test_an_error_of_ours_is_a_500(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends this request only."""
    monkeypatch.setattr(conferences, "subject_of", None)
    async with edge() as at:
        assert (await answer(at, invite(BOB))).status == 500
        assert (await answer(at, subscribe())).status == 200


async def test_without_case_users_and_rooms_are_in_lower_case() -> None:
    """`case_sensitive_users = false`."""
    async with edge(case_sensitive_users=False) as at:
        data = invite("sip:BOB@example.org", uri="sip:Conference-Factory@example.org")
        assert (await answer(at, data.replace(b"sip:alice@", b"sip:Alice@"))).status == 200
        assert (entry(at).sender, entry(at).detail) == ("alice@example.org", "bob@example.org")
        assert entry(at).device == DEVICE


async def test_a_pattern_of_rooms_may_exclude_conferences() -> None:
    """Their messages would get 404."""
    async with edge(room_pattern="chat-[0-9]+") as at:
        assert (await answer(at, invite(BOB))).status == 403


async def test_rooms_may_be_in_a_domain_of_their_own() -> None:
    """`conference_domain`."""
    async with edge(conference_domain="conf.example.org") as at:
        await answer(at, invite(BOB))
        assert entry(at).room.endswith("@conf.example.org")


@pytest.mark.parametrize("encoding", ["br", "deflate"])
async def test_a_list_that_cannot_be_inflated_is_refused(encoding: str) -> None:
    """RFC 3261 §21.4.13; the body is not deflated."""
    async with edge() as at:
        response = await answer(at, invite(BOB, Content_Encoding=encoding))
        assert response.status == (415 if encoding == "br" else 400)


@pytest.mark.parametrize("number", [100, 900])
async def test_a_long_list_that_comes_deflated_is_read(number: int) -> None:
    """As Linphone sends it after a restart, with all rooms of its user. `max_body` is for messages."""
    rooms = [f"sip:chatroom-{each:020x}@conference.example.org;Last-Notify=17" for each in range(number)]
    packed = zlib.compress(resource_list(*rooms))
    async with edge() as at:
        assert (await answer(at, subscribe(FACTORY, packed, Content_Encoding="deflate"))).status == 200


@pytest.mark.parametrize("number", [1_001, 5_000, 10_000])
async def test_a_longer_list_is_refused_as_a_whole(number: int) -> None:
    """Of users or rooms. Nothing is asked about its entries."""
    packed = zlib.compress(resource_list(*(f"sip:{each}@e.org" for each in range(number))))
    async with edge(max_body=65_535) as at:
        for data in (
            subscribe(FACTORY, packed, Content_Encoding="deflate"),
            request("INVITE", FACTORY, packed, Content_Type=LISTS, Content_Encoding="deflate"),
        ):
            assert (await answer(at, data)).status == 413
        assert at.store.entries == []


async def test_a_bomb_in_place_of_a_list_is_refused() -> None:
    """It would be a megabyte."""
    async with edge() as at:
        packed = zlib.compress(resource_list() + b" " * 1_000_000)
        assert (await answer(at, subscribe(FACTORY, packed, Content_Encoding="deflate"))).status == 413


# --- ACK and CANCEL


async def test_an_ack_ends_the_repetition_of_the_200_and_is_noted() -> None:
    """RFC 3261 §13.3.1.4: whichever edge gets it, the worker hears of it once."""
    async with edge() as at, edge(at.store) as other:
        flow = FakeFlow("tcp", ("192.0.2.1", 5062))
        at.acceptor.receive(invite(BOB), flow)
        await until(lambda: bool(flow.sent))
        room, answers = entry(at).room, at.acceptor.conferences._answers
        assert len(answers) == 1
        to = f"<{FACTORY}>;tag={flow.responses[0].to_tag}"
        ack = request(
            "ACK", f"sip:{room}", To=to, From="<sip:alice@example.org>;tag=1928", without=["Contact"]
        )
        for each in (at, other):
            assert await each.ask(ack) == []
        assert len(answers) == 0
        noted = [each for each in at.store.entries if each.type == "confirm_dialog"]
        assert len(noted) == 2, "Redis tells that the second one is a duplicate"
        assert (noted[0].room, noted[0].sender) == (room, "alice@example.org")
        assert json.loads(noted[0].dialog)["call_id"] == "a84b4c76e66710"


async def test_an_ack_that_came_to_another_edge_ends_the_repetition_too() -> None:
    """All edges are told of it; an edge that knows the answer itself tells nobody."""
    async with edge() as at, edge() as other:
        flow = FakeFlow("tcp", ("192.0.2.1", 5062))
        at.acceptor.receive(invite(BOB), flow)
        await until(lambda: bool(flow.sent))
        to = f"<{FACTORY}>;tag={flow.responses[0].to_tag}"
        ack = request("ACK", f"sip:{entry(at).room}", To=to, From="<sip:alice@example.org>;tag=1928")
        await other.ask(ack)
        told = [
            str(command[2]).encode()
            for each in other.store.batches
            for command in each
            if command[0] == "PUBLISH"
        ]
        answers = at.acceptor.conferences._answers
        for noise in (b"", b"ack", b"ack x y", b"online bob@example.org", b"ack 1 0000"):
            at.acceptor.conferences.heard(noise)
        assert (len(told), len(answers)) == (1, 1)
        at.acceptor.conferences.heard(told[0])
        assert len(answers) == 0
        at.acceptor.receive(invite(BOB), flow)
        await until(lambda: len(answers) == 1)
        await at.ask(ack)
        assert "PUBLISH" not in [command[0] for each in at.store.batches for command in each]


async def test_an_ack_with_another_tag_is_ignored() -> None:
    """That of a refusal, or of a stranger: nobody authenticates an ACK."""
    async with edge() as at:
        assert await at.ask(request("ACK", To=f"<sip:{ROOM}>;tag=1")) == []
        assert await at.ask(request("ACK", To="<sip:x")) == []
        assert at.store.batches == []


async def test_another_user_with_the_same_call_id_and_tag_learns_no_tag_and_stops_no_answer() -> None:
    """From is part of what names a dialog: Mallory's ACK is not that of Alice."""
    async with edge() as at:
        alices, mallorys = FakeFlow("tcp", ("192.0.2.1", 5062)), FakeFlow("tcp", ("192.0.2.1", 5063))
        mallory = "sip:mallory@example.org"
        at.acceptor.receive(invite(BOB), alices)
        headers = {"From": f"<{mallory}>;tag=1928", "Contact": f"<{mallory};gr=urn:uuid:1>"}
        at.acceptor.receive(invite(BOB, **headers), mallorys)
        await until(lambda: bool(alices.sent and mallorys.sent))
        tag, answers = mallorys.responses[0].to_tag, at.acceptor.conferences._answers
        assert tag != alices.responses[0].to_tag
        assert len(answers) == 2
        room = entry(at).room
        for sender in ("sip:alice@example.org", mallory):
            ack = request("ACK", f"sip:{room}", To=f"<{FACTORY}>;tag={tag}", From=f"<{sender}>;tag=1928")
            await at.ask(ack)
        assert [each.sender for each in at.store.entries if each.type == "confirm_dialog"] == [mallory[4:]]
        assert len(answers) == 1


async def test_a_flood_of_acks_and_byes_is_counted() -> None:
    """Each ACK with another CSeq would be another request to the worker."""
    async with edge(max_messages_per_second=1, max_message_burst=1) as at:
        charge = at.store.script("charge_budget", (), ())[1]
        flow = FakeFlow("tcp", ("192.0.2.1", 5062))
        at.acceptor.receive(invite(BOB), flow)
        await until(lambda: bool(flow.sent))
        at.store.reply = lambda command: 60_000 if command[1] == charge else at.store.remember(command)
        to, room = f"<{FACTORY}>;tag={flow.responses[0].to_tag}", entry(at).room
        for number in range(60):
            headers = {"To": to, "From": "<sip:alice@example.org>;tag=1928", "CSeq": f"{number} ACK"}
            await at.ask(request("ACK", f"sip:{room}", **headers))
        assert len([each for each in at.store.entries if each.type == "confirm_dialog"]) < 10
        assert (await answer(at, request("BYE", f"sip:{room}", To=to))).status == 403


async def test_cancel_comes_too_late_for_an_invite() -> None:
    """RFC 3261 §9.2: the INVITE has its final response, so it changes nothing."""
    async with edge() as at:
        await answer(at, invite(BOB))
        uri = FACTORY
        cancel = request("CANCEL", uri, From="<sip:alice@example.org>;tag=1928", without=["Contact"])
        assert (await at.ask_one(cancel)).status == 200
        unknown = request("CANCEL", uri, Call_ID="other", without=["Contact"])
        assert (await at.ask_one(unknown)).status == 481
