"""No header injection: whatever a sender writes, deliveries have our headers and no others.

The oracle is `sipmessage`, a parser of others; and Python's own `splitlines`, which breaks lines where some
programs do and SIP does not.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

import pytest
import sipmessage
from hypothesis import example, given
from hypothesis import strategies as st

from imc_common import keys
from imc_common.bodies.content import Content
from imc_common.bodies.errors import BodyError
from imc_common.bodies.essence import PLAIN
from imc_common.rooms.commands import CommandParser
from imc_common.rooms.event import Event
from imc_common.rooms.request import RoomRequest
from imc_common.rooms.texts import REASONS, render
from imc_common.settings import Settings
from imc_common.sip.errors import SipError
from imc_common.sip.fast_message import parse_fast
from imc_common.sip.limits import Limits
from imc_common.sip.message import Request
from imc_common.sip.parse import parse_message
from imc_common.sip.validate import validate_request
from imc_common.store.slots import slot_of
from imc_edge.delivering.outbound import first_request, make_template, request_head, to_lines
from imc_edge.identifiers import DeliveryIds
from imc_edge.identity.sender import asserted_sender, sender_of
from imc_edge.receiving.message_rules import MessageRules
from imc_edge.receiving.options import Capabilities
from imc_edge.receiving.room_request import room_request_of
from tests.imc_edge.doubles import message

SETTINGS = Settings()
RULES = MessageRules(SETTINGS, Capabilities(SETTINGS.accept_types, conferences=True))
PARSER = CommandParser(SETTINGS)
IDS = DeliveryIds(b"secret")
LIMITS = Limits()
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
_HOST = rf"@(?:{_LABEL}\.)*(?=[a-z_]){_LABEL}"
_IN_ADDRESS = re.compile(rf"{_HOST}(?=:|\Z)")
_IN_FROM = re.compile(rf"{_HOST}((?::[0-9]+)?>;tag)".encode())
BOB = "bob@127.0.0.1:5060"
SENT = ["Via", "To", "Call-ID", "From", "CSeq", "Max-Forwards", "Content-Type", "Content-Length"]
MAY_BE_SENT = {"In-Reply-To", "Date", "Expires", "Auto-Submitted"}

hostile = st.one_of(
    st.text(
        st.sampled_from('ab"\\<>;,:@%{}[]()=? \t\r\n\0\x07\x1b\x7f\x85\x9b\u2028\u2029\u202e\u200bäß😀'),
        max_size=40,
    ),
    st.sampled_from(
        [
            'x"\r\nP-Evil: 1\r\nX: "',
            "%0d%0aP-Evil:%201",
            "\\\r\\\nP-Evil: 1",
            "\x85P-Evil: 1",
            "\u2028P-Evil: 1",
            '\\"\\\\\\',
            "{room}}:{7",
            "A" * 1500,
            "\\\x00\\\x1b[2J",
        ]
    ),
    st.text(max_size=40),
)


def accepted(data: bytes, *, asserted: bool = False) -> RoomRequest | None:
    """The room request that an edge makes; None if the SIP request is refused."""
    try:
        request = parse_fast(data, LIMITS)
        if request is None:
            parsed = parse_message(data, limits=LIMITS)
            assert isinstance(parsed, Request)
            validate_request(parsed)
            request = parsed
        to = RULES.check(request)
        sender = asserted_sender(request) if asserted else sender_of(request)
        content_type = request.headers.get("Content-Type") or PLAIN
        return room_request_of(
            request,
            sender,
            to,
            body=request.body,
            content=None if content_type == PLAIN else Content.parse(content_type, request.body),
            delivery_ids=DeliveryIds(b"x"),
            parser=PARSER,
            at=1_700_000_000_000,
        )
    except (SipError, BodyError):
        return None


def sent(name: str, entry: RoomRequest, **more: str) -> list[bytes]:
    """What bob gets of an event that a script makes of the room request."""
    fields: dict[bytes, bytes] = {b"event": name.encode(), b"to": BOB.encode()}
    flat = [part if isinstance(part, bytes) else part.encode() for part in entry.to_fields()]
    fields |= dict(zip(flat[::2], flat[1::2], strict=True))
    fields |= {key.encode(): value.encode() for key, value in more.items()}
    event = Event.from_fields("1-1", 3, fields)
    bob_id = IDS.recipient_id(BOB)
    head, to = request_head(f"sip:{BOB}", "SIP/2.0/UDP 127.0.0.1:5060", bob_id), to_lines(BOB, bob_id)
    templates = [
        make_template(IDS.message_id(event.room, event.position, number), event, text, ())
        for number, text in enumerate(render(event, SETTINGS))
    ]
    return [first_request(head, to, bob_id, template) for template in templates]


def check(data: bytes) -> sipmessage.Request:
    """It is one MESSAGE to bob with the headers we send, each once, whoever reads it."""
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert head.decode().splitlines() == lines
    names = [line.partition(":")[0] for line in lines[1:]]
    assert [name for name in names if name not in MAY_BE_SENT] == SENT
    assert len(set(names)) == len(names)
    assert all(char.isprintable() or char == "\t" for line in lines for char in line)
    parsed = sipmessage.Message.parse(_IN_FROM.sub(rb"@host.example\1", data))
    assert isinstance(parsed, sipmessage.Request)
    assert (parsed.method, str(parsed.uri), parsed.body) == ("MESSAGE", f"sip:{BOB}", body)
    assert str(parsed.to_address.uri) == f"sip:{BOB}"
    assert len(parsed.via) == 1
    return parsed


def strict(address: str) -> str:
    """Its URI as the oracle takes it, which is stricter with host names: none with underscores, as container
    networks have, nor with a digit last."""
    return "sip:" + _IN_ADDRESS.sub("@host.example", address)


def request(body: bytes = b"hello", **headers: str) -> bytes:
    """As `message`, with texts that need not be UTF-8."""
    marked = {name: f"MARK-{name}-MARK" for name in headers}
    data = message(body, **marked)
    for name, value in headers.items():
        data = data.replace(f"MARK-{name}-MARK".encode(), value.encode("utf-8", "surrogatepass"))
    return data


@given(hostile)
@example('Mallory" <sip:root@example.org>;tag=1\r\nP-Asserted-Identity: <sip:root@example.org>\r\nX: "')
@example("\u202egro.elpmaxe@toor")
@example("\\\u2028")
def test_a_display_name_stays_in_its_quotes(name: str) -> None:
    """Quoted or bare, in From or in P-Asserted-Identity; the address always stands after it."""
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    for shown in (f'"{name}"', f'"{quoted}"', name):
        who = f"{shown} <sip:mallory@example.org>"
        for entry in (
            accepted(request(From=f"{who};tag=1")),
            accepted(request(P_Asserted_Identity=who), asserted=True),
        ):
            if entry is None:
                continue
            assert entry.sender in {"mallory@example.org", "root@example.org"}  # whom the From names
            (data,) = sent("message", entry)
            parsed = check(data)
            assert str(parsed.from_address.uri) == strict("chat-000@example.org")
            assert parsed.from_address.name.removesuffix(")").endswith(entry.sender)
            assert parsed.body == f"<{entry.sender}>: hello".encode()


@given(hostile, hostile)
def test_an_address_stays_in_its_place(user: str, host: str) -> None:
    """As sender and as room: it is refused, or comes out as the one URI that it is."""
    for data in (
        request(From=f"<sip:{user}@example.org>;tag=1"),
        request(From=f"<sip:mallory@{host}>;tag=1"),
        request(To=f"<sip:{user}@example.org>", uri=f"sip:{user}@example.org"),
        request(To=f"<sip:chat-000@{host}>", uri=f"sip:chat-000@{host}"),
        request(From=f"sip:{user}@{host};tag=1", To=f"sip:{user}@{host}", uri=f"sip:{user}@{host}"),
    ):
        entry = accepted(data)
        if entry is None:
            continue
        (told,) = sent("message", entry)
        parsed = check(told)
        assert str(parsed.from_address.uri) == strict(entry.room)
        assert parsed.from_address.name.removesuffix(")").endswith(entry.sender)
        unescaped = sipmessage.URI.parse(strict(entry.sender)).user
        assert unescaped == unquote(entry.sender.partition("@")[0])
        assert not {"\r", "\n"} & set(unescaped)
        for key in (
            *keys.accepting(3),
            keys.Keys().room(3, entry.room),
            keys.Keys().members(3, entry.room),
            keys.private_rooms(3, entry.sender),
            keys.owned_rooms(3, entry.sender),
        ):
            assert slot_of(("GET", key)) == slot_of(("GET", keys.requests(3)))


@given(hostile)
@example('text/plain;charset="\\\x1b[2J"')
@example('text/html;x="a\r\nP-Evil: 1"')
def test_no_header_can_inject_another(text: str) -> None:
    """Headers that are passed on (Content-Type), quoted (Call-ID), or dropped."""
    for headers in (
        {"Content_Type": text},
        {"Content_Type": f"text/plain;{text}"},
        {"Content_Type": f'text/html;charset="{text}"'},
        {"Call_ID": text},
        {"Call_ID": f'"{text}"@example.org'},
        {"Subject": text},
        {"Date": text},
        {"Expires": text},
        {"P_Asserted_Identity": text, "Privacy": text, "Contact": text, "Route": text, "Authorization": text},
    ):
        entry = accepted(request(**headers))
        if entry is not None:
            (data,) = sent("message", entry)
            assert check(data).method == "MESSAGE"


@given(
    hostile, st.sampled_from(["invite", "remove", "add", "modify", "join", "create", "list", "", "nonsense"])
)
@example("bob%0d%0aP-Evil:1", "invite")
@example("sip:bob@example.org%0d%0a", "add")
@example("sip:bob@example.org?P-Evil=1", "add")
@example("sip:bob@example.org;x=\u2028", "add")
@example("{7}", "join")
@example("x" * 8000, "invite")
def test_a_command_argument_is_an_address_or_refused(text: str, command: str) -> None:
    """What is refused is told in printable ASCII; what is taken is a URI, with nothing that could be
    unescaped into a line's end."""
    for argument in (text, f"{text}@example.org", f"sip:bob@{text}", f'"{text}"', f"bob {text}"):
        body = f"#{command} {argument}".encode("utf-8", "surrogatepass")
        entry = accepted(message(body[: LIMITS.body]))
        assert entry is not None
        for name in (entry.user, entry.room):
            if name:
                assert name.isascii()
                assert name.isprintable()
                assert re.search(r"%0[AD]|[\s\"<>]", name) is None
                assert sipmessage.URI.parse(strict(name)).host
        events: list[tuple[str, dict[str, str]]] = [("refused", {"reason": entry.reason or "not_member"})]
        if entry.type != "refused":
            events += [(name, {"detail": "404"}) for name in ("invited", "removed", "added", "role_changed")]
            events += [("refused", {"reason": reason, "command": entry.type}) for reason in REASONS]
            who = f"owner:{entry.sender} member:{entry.user or entry.room}"
            events += [("members", {"list": who}), ("rooms", {"list": f"public:{entry.room}", "more": "1"})]
        for name, more in events:
            for data in sent(name, entry, **more):
                told = check(data).body
                assert told.isascii()
                assert told.decode().replace("\n", "").replace("\r", "").isprintable()


@pytest.mark.parametrize("size", [2_000, 10_240, 60_000])
def test_overlong_values_are_refused_or_cut(size: int) -> None:
    """Nothing of a sender makes a header longer than SIP servers take (2,048 bytes)."""
    long = "n" * size
    faults: list[dict[str, Any]] = [
        {"From": f'"{long}" <sip:mallory@example.org>;tag=1'},
        {"From": f"<sip:{long}@example.org>;tag=1"},
        {"To": f"<sip:{long}@example.org>"},
        {"Call_ID": long},
        {"Content_Type": f"text/plain;x={long}"},
    ]
    for headers in faults:
        entry = accepted(request(**headers))
        if entry is not None:
            (data,) = sent("message", entry)
            check(data)
            assert max(map(len, data.partition(b"\r\n\r\n")[0].split(b"\r\n"))) <= 2048
