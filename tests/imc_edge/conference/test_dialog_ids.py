"""Tags and names of rooms are the same on all edges, and nobody can guess them."""

from __future__ import annotations

from imc_common.sip import Request, parse_message
from imc_edge.conference.dialog_ids import DialogIds
from tests.imc_edge.conference.requests import DEVICE, FACTORY, in_dialog_of_room, invite, request, subscribe
from tests.imc_edge.doubles import SECRET

IDS = DialogIds(SECRET)


def parsed(data: bytes) -> Request:
    found = parse_message(data)
    assert isinstance(found, Request)
    return found


def test_every_request_of_a_dialog_leads_to_the_same_tag() -> None:
    """CSeq, branch and Request-URI change in a dialog, Call-ID, From tag and To do not."""
    first = parsed(invite())
    tag = IDS.tag(first)
    later = parsed(invite(uri="sip:room@example.org", To=f"<{FACTORY}>;tag={tag}", CSeq="7 INVITE"))
    assert IDS.is_ours(later)
    assert not IDS.is_ours(first)
    assert not IDS.is_ours(parsed(invite(To=f"<{FACTORY}>;tag={tag[:-1]}x")))
    assert not DialogIds(b"another").is_ours(later)
    others = [invite(Call_ID="x"), invite(To="<sip:x@y>"), subscribe(From="<sip:alice@example.org>;tag=2")]
    assert len({tag, *(IDS.tag(parsed(each)) for each in others)}) == 4


def test_a_dialog_that_the_room_has_begun_is_known_by_its_tag() -> None:
    """Of a user or a device; and nobody can make one up, nor take that of somebody else."""
    for by in (DEVICE, "alice@example.org"):
        given = parsed(in_dialog_of_room("INVITE", by))
        assert IDS.is_of_room(given)
        assert IDS.knows(given)
        assert not IDS.is_ours(given)
        tag = given.to_tag or ""
        for headers in (
            {"From": "<sip:mallory@example.org>;tag=theirs"},
            {"From": "<sip:alice@example.org;gr=a%2Cb>;tag=theirs"},
            {"Call_ID": tag[:-1] + "x"},
            {"Call_ID": tag[:16], "To": f"<sip:room@example.org>;tag={tag[:16]}"},
            {"To": "<sip:room@example.org>"},
        ):
            assert not IDS.knows(parsed(in_dialog_of_room("INVITE", by, **headers))), headers
        assert not DialogIds(b"another").knows(given)
    assert IDS.knows(parsed(request("BYE", To="<sip:room@example.org>;tag=OURS")))


def test_a_room_belongs_to_its_sender() -> None:
    """Nobody gets another user's room by the same Call-ID."""
    request = parsed(invite())
    room = IDS.room(request, "alice@example.org", "conf.example.org")
    assert room.endswith("@conf.example.org")
    assert room != IDS.room(request, "mallory@example.org", "conf.example.org")


def test_a_digest_for_each_room_of_a_list() -> None:
    """Two rooms of one shard are no duplicates of each other."""
    assert IDS.digest("d", "a@x") == IDS.digest("d", "a@x") != IDS.digest("d", "b@x")
