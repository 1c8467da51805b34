"""Nobody speaks in another user's name inside a body (RFC 3862)."""

from __future__ import annotations

from pathlib import Path

import pytest

from imc_common.bodies.cpim import Cpim
from imc_common.rooms.request import RequestData
from tests.imc_common.bodies.corpus import LIME_TYPE, lime
from tests.imc_edge.doubles import edge, message

CONTENT = b"Content-Type: text/plain;charset=utf-8\r\n\r\nhello"
RCS = Path(__file__).parents[2] / "conformance" / "clients" / "rcs-samsung.txt"


def cpim(*lines: bytes, content: bytes = CONTENT, end: bytes = b"\r\n") -> bytes:
    """A body with these CPIM headers."""
    return end.join([*lines, b"", content])


def from_(value: str) -> bytes:
    """A CPIM header."""
    return f"From: {value}".encode()


async def outcome(
    body: bytes, content_type: str = "message/cpim", sender: str = "alice@example.org"
) -> tuple[int, str]:
    """Status and reason for a body that Alice sends; a refused one is not accepted."""
    async with edge() as at:
        headers = {"Content_Type": content_type, "From": f"<sip:{sender}>;tag=1"}
        response = await at.ask_one(message(body, **headers))
        assert len(at.store.entries) == (response.status == 202)
        return response.status, response.reason


@pytest.mark.parametrize(
    "value",
    [
        "<sip:alice@example.org>",
        "Alice <sip:alice@example.org>",
        "<sip:alice@example.org;gr=urn:uuid:b954428c-55ac-00b6-867a-fae2a919e912>",
        '"Alice" <sip:alice@EXAMPLE.org:5070;transport=tcp>',
        "Jürgen von Ö <sips:%61lice@example.org>",
        "MR SANDERS<im:alice@example.org>",
        "<pres:alice@example.org>",
        "sip:alice@example.org",
        r"<sip:al\u0069ce@example.org>",
        "<sip:anonymous@anonymous.invalid>",
        "Anonymous <sips:anonymous@anonymous.invalid>",
    ],
)
async def test_the_sender_may_name_itself_or_nobody(value: str) -> None:
    """Compared as an identity, not as text."""
    assert (await outcome(cpim(from_(value), b"To: <sip:chat-000@example.org>")))[0] == 202


async def relayed(*lines: bytes) -> Cpim:
    """The CPIM message that the room gets of one with these headers."""
    async with edge() as at:
        name = "Alice <sip:alice@example.org>;tag=1"
        await at.ask_one(message(cpim(*lines), Content_Type="message/cpim", From=name))
        (entry,) = at.store.entries
        return Cpim.parse(RequestData.unpack(entry.data).body)


@pytest.mark.parametrize(
    "lines",
    [
        [b"DateTime: 2020-01-01T00:00:00Z"],
        [b"Content-Type: message/cpim", b"", b"DateTime: 2020-01-01T00:00:00Z"],
        [from_("<sip:anonymous@anonymous.invalid>"), b"DateTime: 2020-01-01T00:00:00Z"],
        [b"DateTime: 2020-01-01T00:00:00Z", from_("<sips:%61nonymous@Anonymous.Invalid>")],
        [
            from_("<sip:alice@example.org>"),
            from_("<sip:anonymous@anonymous.invalid>"),
            b"DateTime: 2020-01-01T00:00:00Z",
        ],
    ],
    ids=repr,
)
async def test_the_room_gets_the_author_of_what_names_nobody(lines: list[bytes]) -> None:
    """RFC 3862 §4.1 requires From, and From of a delivery may be the room."""
    body = await relayed(*lines)
    assert body.envelope.senders == ("Alice <sip:alice@example.org>",)
    assert [header.name for header in body.headers] == ["From", "DateTime"]
    assert body.part.content_type == "text/plain;charset=utf-8"
    assert body.part.content == b"hello"


async def test_a_body_that_names_its_author_is_relayed_byte_for_byte() -> None:
    """In any spelling."""
    for value in ("<sip:alice@example.org>", "A <im:alice@example.org>", '"A" <sips:%61lice@EXAMPLE.org>'):
        assert (await relayed(from_(value), b"X: y")).to_bytes() == cpim(from_(value), b"X: y")


@pytest.mark.parametrize(
    "lines",
    [
        [from_("<sip:dave@example.org>")],
        [from_("<sip:alice@example.com>")],
        [from_("<sip:alice@example.organic>")],
        [from_("<sip:alice@example.org.example.com;gr=urn:uuid:1>")],
        [from_("<sip:Alice@example.org>")],
        [from_('"sip:alice@example.org" <sip:dave@example.org>')],
        [from_("<im:dave@example.org>")],
        [from_("<tel:+4930123>")],
        [from_("<mailto:alice@example.org>")],
        [from_("<sip:example.org>")],
        [from_("<sip:anonymous@example.org>")],
        [from_(r"<sip:d\u0061ve@example.org>")],
        [b"from:<sip:dave@example.org>"],
        [b"FROM : <sip:dave@example.org>"],
        [b"To: <sip:x@y.example>", b"DateTime: 2020-01-01T00:00:00Z", from_("<sip:dave@example.org>")],
        [from_("<sip:alice@example.org>"), from_("<sip:dave@example.org>")],
        [b"NS: c <urn:ietf:params:cpim-headers:>", b"c.From: <sip:dave@example.org>"],
        [b"Content-Type: Message/CPIM", b"", from_("<sip:dave@example.org>")],
        [b"", b"", from_("<sip:dave@example.org>")],
        [b"\xef\xbb\xbf" + from_("<sip:dave@example.org>")],
    ],
    ids=repr,
)
@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r"], ids=["CRLF", "LF", "CR"])
async def test_another_user_inside_is_refused_at_once(lines: list[bytes], end: bytes) -> None:
    """However a recipient might read it."""
    assert await outcome(cpim(*lines, end=end)) == (403, "CPIM From Is Not The Sender")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "dave@example.org",
        "<sip:alice@example.org> <sip:dave@example.org>",
        '"<sip:dave@example.org>" <sip:alice@example.org>',
        "sip:alice@example.org>",
        "<sip:alice@example.org",
        "<sip:alice@example.org;gr=urn:uuid:1",
        "<sip:alice@example.org;gr=urn:uuid:1> <sip:dave@example.org>",
        "<sip:alice@example.org;gr=urn:uuid:1><sip:dave@example.org>",
        "<sip:alice@example.org\x00>",
    ],
)
async def test_a_from_that_can_be_read_in_two_ways_is_malformed(value: str) -> None:
    """Somebody could read the other one."""
    assert await outcome(cpim(from_(value))) == (400, "Malformed CPIM From")


async def test_a_port_names_nobody_else() -> None:
    """An identity behind an IP address has one, and is the same user at each port."""
    for port in ("", ":5070", ":5071"):
        body = cpim(from_(f"<sip:bob@127.0.0.1{port}>"))
        assert (await outcome(body, sender="bob@127.0.0.1:5070"))[0] == 202


async def test_folded_and_endless_headers_are_malformed() -> None:
    """RFC 3862 §2.2: one line is one header. Nothing is left unread."""
    folded = cpim(from_("<sip:alice@example.org>"), b" <sip:dave@example.org>")
    assert await outcome(folded) == (400, "Folded CPIM Header")
    long = cpim(b"Subject: " + b"x" * 8192, from_("<sip:dave@example.org>"))
    assert (await outcome(long))[0] in {400, 413}


async def test_a_from_in_the_text_is_text() -> None:
    """Only the headers count; without a From nobody else is named."""
    said = cpim(b"To: <sip:x@y.example>", content=CONTENT + b"\r\n\r\nFrom: <sip:dave@example.org>\r\n")
    assert (await outcome(said))[0] == 202
    assert (await outcome(b"From: <sip:dave@example.org>\r\n\r\n", "text/plain;charset=utf-8"))[0] == 202


@pytest.mark.parametrize(
    "header", [b"Content-Type: message/cpim", b"content-type:\r\n Message/CPIM;charset=x"]
)
async def test_cpim_inside_of_something_is_refused(header: bytes) -> None:
    """imc does not look for a From there."""
    inner = header + b"\r\n\r\n" + cpim(from_("<sip:dave@example.org>"))
    part = b"--b\r\n" + inner + b"\r\n--b--\r\n"
    assert await outcome(part, "multipart/mixed;boundary=b") == (403, "CPIM In Multipart")
    assert await outcome(cpim(from_("<sip:alice@example.org>"), content=inner)) == (403, "CPIM In CPIM")


@pytest.mark.parametrize(
    ("sender", "expected"),
    [
        ("sip:alice@example.org;gr=urn:uuid:1", 202),
        ("sip:dave@example.org", 403),
        ("sip:anonymous@anonymous.invalid", 403),
    ],
)
async def test_an_encrypted_message_names_its_sender(sender: str, expected: int) -> None:
    """In the part that is not encrypted. It is relayed as it came."""
    assert (await outcome(lime(sender, "sip:bob@example.org;gr=1"), LIME_TYPE))[0] == expected


async def test_a_telephone_number_is_the_user_with_this_number() -> None:
    """RFC 3966: global numbers only."""
    number = "+14448880000@example.org"
    assert (await outcome(cpim(from_("<tel:+14448880000>")), sender=number))[0] == 202
    assert (await outcome(cpim(from_("<tel:+14448880001>")), sender=number))[0] == 403
    assert (await outcome(cpim(from_("<tel:4448880000>")), sender="4448880000@example.org"))[0] == 403


async def test_a_handset_with_rcs_names_nobody() -> None:
    """The body of its message in the conformance suite."""
    body = RCS.read_bytes().replace(b"\r\n", b"\n").rpartition(b"\n\nFrom: ")[2]
    assert (await outcome(b"From: " + body.replace(b"\n", b"\r\n")))[0] == 202


async def test_case_does_not_matter_where_users_are_the_same_in_any_case() -> None:
    """case_sensitive_users = false."""
    body = cpim(from_("<sip:aLICE@example.org>"))
    headers = {"Content_Type": "message/cpim", "From": "<sip:Alice@example.org>;tag=1"}
    async with edge(case_sensitive_users=False) as at:
        assert (await at.ask_one(message(body, **headers))).status == 202
    async with edge() as at:
        assert (await at.ask_one(message(body, **headers))).status == 403
