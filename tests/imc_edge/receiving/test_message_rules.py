"""The rules for a MESSAGE, and the response to one that breaks them (RFC 3261 §8.2, RFC 3428 §8)."""

from __future__ import annotations

import gzip
import zlib

import pytest

from imc_common.sip import Response
from tests.imc_edge.doubles import edge, message

ALLOWED = "MESSAGE, OPTIONS, CANCEL, ACK, INVITE, BYE, REFER, SUBSCRIBE, REGISTER"


def header(response: Response, name: str) -> str | None:
    return response.headers.get(name)


@pytest.mark.parametrize(
    ("data", "status", "reason", "extra"),
    [
        (message(method="PUBLISH"), 405, "Method Not Allowed", ("Allow", ALLOWED)),
        (message(method="FOO"), 405, "Method Not Allowed", ("Allow", ALLOWED)),
        (message(uri="tel:+491234"), 416, "Unsupported URI Scheme", None),
        (message(Require="100rel, foo"), 420, "Bad Extension", ("Unsupported", "100rel, foo")),
        (
            message(Content_Encoding="br"),
            415,
            "Unsupported Content-Encoding",
            ("Accept-Encoding", "deflate, gzip"),
        ),
        (
            message(Content_Type="image/png"),
            415,
            "Unsupported Media Type",
            ("Accept", "text/*, message/cpim, "),
        ),
        (message(b"x" * 8193), 413, "Request Entity Too Large", None),
        (
            message(
                b"To: <sip:x@y.example>\r\n\r\nContent-Encoding: gzip\r\n\r\n"
                + gzip.compress(bytes(60_000), mtime=0),
                Content_Type="message/cpim",
            ),
            413,
            "Inflated Body Too Large",
            None,
        ),
        (message(Max_Forwards="0"), 483, "Too Many Hops", None),
        (message(uri="sip:chat-000@foreign.example"), 404, "Not Found", None),
        (message(uri="sip:bob@example.org"), 404, "Not Found", None),
        (message(uri="sip:example.org", To="<sip:example.org>"), 404, "To Has No User", None),
        (message(uri="sip:example.org", To="<tel:+491234>"), 400, "To Is Not A SIP URI", None),
        (message(From="<tel:+491234>;tag=1"), 400, "From Is Not A SIP URI", None),
        (message(From="<sip:example.org>;tag=1"), 400, "From Has No User", None),
        (message(without=["Call-ID"]), 400, "Missing Call-ID header", None),
        (message(without=["To"]), 400, "Missing To header", None),
        (message(without=["From"]), 400, "Missing From header", None),
        (message(without=["CSeq"]), 400, "Missing CSeq header", None),
        (message(CSeq="1 INVITE"), 400, "CSeq Method Does Not Match Request Method", None),
        (message().replace(b" SIP/2.0\r\nVia", b" SIP/3.0\r\nVia"), 505, "Version Not Supported", None),
        (message(uri="sip:" + "a" * 1100 + "@example.org"), 414, "Request-URI Too Long", None),
        (message(lines=["X-Long: " + "x" * 9000]), 513, "Header Block Too Large", None),
    ],
)
async def test_each_fault_of_a_request_gets_its_status_and_reason_phrase(
    data: bytes, status: int, reason: str, extra: tuple[str, str] | None
) -> None:
    """Nothing of it reaches Redis."""
    async with edge(domains=["example.org"], room_pattern="chat-[0-9]+") as at:
        response = await at.ask_one(data)
        assert (response.status, response.reason) == (status, reason)
        assert "tag=" in (header(response, "To") or "tag=")
        if extra is not None:
            assert (header(response, extra[0]) or "").startswith(extra[1])
        assert at.store.batches == []


async def test_the_manager_need_not_match_room_pattern() -> None:
    """It is no room, but reads commands."""
    async with edge(room_pattern="chat-[0-9]+", domains=["example.org"]) as at:
        response = await at.ask_one(message(b"#help", uri="sip:chat-manager@example.org"))
        assert response.status == 202
        assert at.store.entries[0].type == "help"


async def test_harmless_faults_are_accepted_and_counted_unless_strict() -> None:
    """A body without Content-Type is text, and a display name needs no quotes."""
    data = message(From="Bell, Al <sip:alice@example.org>;tag=1", without=["Content-Type"])
    async with edge() as at:
        assert (await at.ask_one(data)).status == 202
        page = at.metrics.page()
        assert b'imc_tolerated_total{fault="display_name"} 1' in page
        assert b'imc_tolerated_total{fault="content_type"} 1' in page
    async with edge(strict=True) as at:
        assert (await at.ask_one(data)).status == 400
        assert at.store.entries == []


def receipts(count: int) -> bytes:
    """Receipts of so many messages in one body, as Linphone sends them after it was off."""
    document = (
        '<imdn xmlns="urn:ietf:params:xml:ns:imdn"><message-id>m{}</message-id>'
        "<datetime>2026-11-30T00:59:37Z</datetime>"
        "<delivery-notification><status><delivered/></status></delivery-notification></imdn>"
    )
    part = "--b\r\nContent-Type: message/imdn+xml\r\nContent-Length: {}\r\n\r\n{}\r\n"
    parts = "".join(
        part.format(len(each), each) for each in (document.format(number) for number in range(count))
    )
    head = "From: <sip:alice@example.org>\r\nTo: <sip:chat-000@example.org>\r\n\r\n"
    return f"{head}Content-Type: multipart/mixed;boundary=b\r\n\r\n{parts}--b--\r\n".encode()


@pytest.mark.parametrize(("body", "status"), [(receipts(190), 202), (receipts(260), 413), (b"x" * 8193, 413)])
async def test_packed_receipts_may_be_longer_than_messages(body: bytes, status: int) -> None:
    """`max_body` is for what rooms keep. All receipts count."""
    async with edge() as at:
        packed = zlib.compress(body)
        assert len(body) > 8192
        kind = "message/cpim" if body.startswith(b"From") else "text/plain"
        response = await at.ask_one(message(packed, Content_Type=kind, Content_Encoding="deflate"))
        assert response.status == status
        ids = [each.message_id.split()[::2] for each in at.store.entries]
        assert ids == ([[f"m{number}" for number in range(190)]] if status == 202 else [])
