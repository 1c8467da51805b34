"""Requests that go out parse to exactly what was meant, by our codec and by an independent one."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from itertools import pairwise

import pytest
import sipmessage
from hypothesis import given
from hypothesis import strategies as st

from imc_common.rooms.event import Event
from imc_common.rooms.relayed import Text
from imc_common.rooms.request import RequestData
from imc_common.rooms.texts import render
from imc_common.settings import Settings
from imc_common.sip.message import Request
from imc_common.sip.parse import parse_message
from imc_common.sip.validate import validate_request
from imc_edge.delivering.outbound import (
    MAX_DATAGRAM,
    UnsendableError,
    first_request,
    later_request,
    make_template,
    request_head,
    to_lines,
)
from imc_edge.identifiers import DeliveryIds
from tests.imc_common.bodies.corpus import LINPHONE

ROOM = "chat-000@example.org"
BOB = "bob@127.0.0.1:5071"
IDS = DeliveryIds(b"secret")
BOB_ID = IDS.recipient_id(BOB)
VIA = "SIP/2.0/UDP 192.0.2.1:5060"


def event(name: str = "message", **fields: object) -> Event:
    """An event of room chat-000."""
    given: dict[str, object] = {"actor": "alice@example.org", **fields}
    about: dict[str, object] = {"call_id": "abc@192.0.2.9", "at": 1_700_000_000_000}
    about |= {name: given.pop(name) for name in ("call_id", "at") if name in given}
    data = given.pop("data", RequestData())
    assert isinstance(data, RequestData)
    given["data"] = replace(data, **about)  # type: ignore[arg-type] # as the test gives them
    return Event("7-0", 3, name, ROOM, (BOB,), **given)  # type: ignore[arg-type] # fields as the test gives them


def build(of: Event, text: Text | None = None, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    """The first request to bob."""
    template = make_template(
        IDS.message_id(ROOM, "7-0", 0), of, text or Text("text/plain", b"hello"), headers
    )
    return first_request(request_head(f"sip:{BOB}", VIA, BOB_ID), to_lines(BOB, BOB_ID), BOB_ID, template)


def parse(data: bytes) -> Request:
    """The request, which has to be a valid one."""
    request = parse_message(data)
    assert isinstance(request, Request)
    validate_request(request)
    return request


def test_texts_of_about_one_length_in_cpim_make_requests_of_one_length() -> None:
    """They go out together. But blanks must not make a request too long for a datagram."""
    sizes = [len(build(event(), Text("message/cpim", LINPHONE + b"x" * length))) for length in range(1000)]
    assert len(set(sizes[:250])) < 10
    for before, size in pairwise(sizes):
        assert size <= MAX_DATAGRAM or size - before <= 2


def test_a_message_has_the_headers_of_a_new_transaction() -> None:
    """RFC 3261 §8.1.1: every mandatory header, and those that tell where it comes from; no Contact."""
    request = parse(
        build(event(data=RequestData("text/plain", b"hello", max_forwards=42, display_name="Alice")))
    )
    names = [name for name, _ in request.headers]
    assert names == [
        "Via", "To", "Call-ID", "From", "CSeq", "Max-Forwards", "In-Reply-To", "Date", "Content-Type",
        "Content-Length",
    ]  # fmt: skip
    assert request.uri == f"sip:{BOB}"
    assert str(request.to.uri) == f"sip:{BOB}"
    assert str(request.from_.uri) == f"sip:{ROOM}"
    assert request.from_.display_name == "Alice (alice@example.org)"
    nick = parse(
        build(
            event(data=RequestData("text/plain", b"hello", max_forwards=42, display_name="Alice"), nick="Al")
        )
    )
    assert nick.from_.display_name == "Al (alice@example.org)", "the name that the room knows"
    assert request.max_forwards == 42
    assert request.headers.get("In-Reply-To") == "abc@192.0.2.9"
    assert request.cseq.method == "MESSAGE"
    assert request.body == b"hello"


def test_an_independent_parser_agrees() -> None:
    """sipmessage reads the same values."""
    oracle = sipmessage.Message.parse(build(event()))
    assert isinstance(oracle, sipmessage.Request)
    assert oracle.method == "MESSAGE"
    assert str(oracle.uri) == f"sip:{BOB}"
    assert oracle.from_address is not None
    assert oracle.from_address.name == "alice@example.org"
    assert oracle.from_address.parameters["tag"]
    assert str(oracle.via[0].parameters["branch"]).startswith("z9hG4bK")
    assert oracle.body == b"hello"


def test_identifiers_follow_from_the_entry_and_the_recipient() -> None:
    """The same after a crash; different for another entry, another recipient, another secret."""
    first = parse(build(event()))
    again = parse(build(event()))
    assert (first.call_id, first.from_.tag, first.via.branch) == (
        again.call_id,
        again.from_.tag,
        again.via.branch,
    )
    recipient_ids = {IDS.recipient_id(a) for a in (BOB, "carol@example.org")}
    recipient_ids |= {DeliveryIds(b"x").recipient_id(BOB)}
    tokens = {
        IDS.message_id(room, position, number)
        for room, position, number in (
            (ROOM, "7-0", 0),
            (ROOM, "7-0", 1),
            (ROOM, "8-0", 0),
            ("chat-001@example.org", "7-0", 0),
        )
    } | {DeliveryIds(b"x").message_id(ROOM, "7-0", 0)}
    assert len(recipient_ids) == 3
    assert len(tokens) == 5


def test_identifiers_are_the_same_on_every_edge() -> None:
    """Also on one of another version that takes over a shard: recipients must recognise the same message."""
    assert IDS.recipient_id(BOB) == b"e7bbe03afa726c63"
    assert IDS.message_id(ROOM, "7-0", 0) == b"16e1459ed24e51fc"


def test_a_later_request_keeps_call_id_and_tag_and_has_a_new_branch() -> None:
    """RFC 3261 §22.2: with credentials the CSeq is one higher; the rest identifies the same MESSAGE."""
    template = make_template(IDS.message_id(ROOM, "7-0", 0), event(), Text("text/plain", b"hello"), ())
    head, to = request_head(f"sip:{BOB}", VIA, BOB_ID), to_lines(BOB, BOB_ID)
    first = parse(first_request(head, to, BOB_ID, template))
    later = parse(
        later_request(
            head, to, BOB_ID, template, attempt=1, cseq=2, headers=[("Authorization", "Digest x=y")]
        )
    )
    assert (later.call_id, later.from_.tag) == (first.call_id, first.from_.tag)
    assert later.via.branch != first.via.branch
    assert (first.cseq.number, later.cseq.number) == (1, 2)
    assert later.headers.get("Authorization") == "Digest x=y"


def test_notices_are_marked_as_automatic_and_start_with_full_max_forwards() -> None:
    """Automatic responders must not respond to a notice; and a notice is a new request."""
    request = parse(
        build(event("joined", data=RequestData("text/plain", b"#join", max_forwards=3, display_name="Alice")))
    )
    assert request.headers.get("Auto-Submitted") == "auto-generated"
    assert request.max_forwards == 70
    assert request.from_.display_name == ""


def test_expires_counts_from_date() -> None:
    """RFC 3428 §7: a store on the way computes the same end."""
    data = RequestData("text/plain", b"hello", max_forwards=69, display_name="", expires_at=1_700_000_060_000)
    request = parse(build(event(data=data)))
    assert request.headers.get("Date") == "Tue, 14 Nov 2023 22:13:20 GMT"
    assert request.expires == 60


def test_extra_headers_and_the_type_go_out_as_they_are() -> None:
    """`extra_hdrs` and any Content-Type with its parameters."""
    request = parse(build(event(), Text("text/plain;charset=UTF-8", b"x"), (("P-Flags", "3"),)))
    assert request.headers.get("P-Flags") == "3"
    assert request.headers.get("Content-Type") == "text/plain;charset=UTF-8"


@given(st.text(), st.binary(max_size=200))
def test_no_display_name_smuggles_a_header(name: str, body: bytes) -> None:
    """Whatever display name a sender chooses, headers and body are the intended ones."""
    data = build(
        event(data=RequestData("text/plain", body, max_forwards=69, display_name=name)),
        Text("text/plain", body),
    )
    request = parse(data)
    assert len(request.headers) == 10
    assert request.body == body
    assert request.from_.display_name.endswith("alice@example.org" + (")" if name else ""))
    # other line ends than SIP's, which some implementations of SIP accept
    head = data[: -len(body)] if body else data
    assert len(head.decode().splitlines()) == 12
    oracle = sipmessage.Message.parse(data)
    assert isinstance(oracle, sipmessage.Request)
    assert oracle.body == body


@pytest.mark.parametrize(
    "header",
    [
        ("X-A", "b\r\nEvil: 1"),
        ("X-A\r\nEvil", "1"),
        ("X-A", "b\nEvil: 1"),
        ("X A", "b"),
        ("X-A", "b\x00"),
        ("", "b"),
    ],
)
def test_a_header_that_would_break_the_message_is_refused(header: tuple[str, str]) -> None:
    """Header lines come from settings and from stored requests; neither may add lines."""
    with pytest.raises(UnsendableError):
        build(event(), headers=(header,))


@pytest.mark.parametrize(
    "address",
    [
        "bob@example.org\r\nEvil: 1", "bob@example.org>", "bob smith@example.org", "bob@", "@example.org", "",
        "bob@exa mple.org", "bob@example.org?Route=x", "b\u2028b@example.org", 'b"b@example.org', "bob",
    ],
)  # fmt: skip
def test_an_invalid_address_is_refused(address: str) -> None:
    """Addresses in the stream are canonical; nothing is sent to one that is not."""
    with pytest.raises(UnsendableError):
        to_lines(address, BOB_ID)


def test_an_invalid_call_id_is_left_out() -> None:
    """In-Reply-To is optional; an invalid Call-ID must not cost the delivery."""
    assert "In-Reply-To" not in parse(build(event(call_id="a b\r\nEvil: 1"))).headers


def test_an_invalid_content_type_is_refused() -> None:
    """A Content-Type with a line end in it never goes out."""
    with pytest.raises(UnsendableError):
        build(event(), Text("text/plain\r\nEvil: 1", b"x"))


@pytest.mark.parametrize("length", [10, 60, 120])
@pytest.mark.parametrize("nick", ["", "|Jürgen", "|" + "王" * 32])
@pytest.mark.parametrize("via", [VIA, "SIP/2.0/TLS [2001:db8:1234:5678:9abc:def0:1234:5678]:65061"])
def test_each_part_of_a_list_fits_a_datagram_as_it_is_built(length: int, nick: str, via: str) -> None:
    """RFC 3428 §8: 1,300 bytes, however long the addresses, nicknames and the Call-ID are."""
    bob = f"{'b' * length}@example.org"
    members = " ".join(f"owner:{'x' * length}{number:03d}@example.org{nick}" for number in range(40))
    data = RequestData(call_id="c" * 90, at=1_700_000_000_000)
    room = f"{'r' * length}@example.org"
    listed = Event("7-0", 3, "members", room, (bob,), actor=bob, list=members, data=data)
    settings = Settings(extra_hdrs=("X-Flags: 3",))
    bob_id = IDS.recipient_id(bob)
    parts = render(listed, settings)
    for text in parts:
        template = make_template(IDS.message_id(ROOM, "7-0", 0), listed, text, (("X-Flags", "3"),))
        head = request_head(f"sip:{bob}", via, bob_id)
        built = first_request(head, to_lines(bob, bob_id), bob_id, template)
        assert len(built) <= MAX_DATAGRAM
    assert b"".join(text.body for text in parts).count(b"(owner)") == 40


def test_short_requests_have_few_lengths() -> None:
    """So that many go out in one system call, whatever names and texts they contain."""
    sizes = set()
    for text in range(60):
        for user in range(1, 20):
            template = make_template(b"t" * 16, event("message"), Text("text/plain", b"x" * text), ())
            to = to_lines(f"{'u' * user}@example.org", b"s" * 16)
            head = request_head(f"sip:{'u' * user}@example.org", "SIP/2.0/UDP 192.0.2.1:5060", b"s" * 16)
            sizes.add(len(first_request(head, to, b"s" * 16, template)))
    assert len(sizes) <= 6


def test_long_display_names_are_not_remembered() -> None:
    """What is remembered by name stays small, whatever names users choose."""
    tracemalloc.start()
    try:
        for number in range(500):
            build(event(data=RequestData(display_name=f"{number} {'x' * 20_000}")))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 2_000_000
