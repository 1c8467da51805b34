"""What workers read of a SIP request."""

from __future__ import annotations

import pytest

from imc_edge.identifiers import DeliveryIds
from tests.imc_common.bodies.corpus import IMDN_DOCUMENT, LINPHONE, LINPHONE_RECEIPTS, RFC_3994_4
from tests.imc_edge.doubles import data_of, edge, message


def said_by_linphone(text: bytes) -> bytes:
    """Alice's text in CPIM."""
    head, _, _ = LINPHONE.replace(b"alice@sip.test", b"alice@example.org").rpartition(b"one")
    return head + text


async def test_a_room_request_has_sender_room_call_id_time_and_content() -> None:
    """Max-Forwards is one less than the request's (RFC 7332 §5)."""
    async with edge() as at:
        await at.ask_one(message(b"hello", Max_Forwards="10"))
        (entry,) = at.store.entries
        assert (entry.type, entry.sender, entry.room) == (
            "message",
            "alice@example.org",
            "chat-000@example.org",
        )
        data = data_of(entry)
        assert (data.call_id, data.at) == ("a84b4c76e66710", 1_700_000_000_000)
        assert (data.content_type, data.body, data.max_forwards) == ("text/plain", b"hello", 9)
        assert (data.display_name, data.expires_at) == ("Alice", None)


async def test_a_command_goes_to_the_shard_of_the_room_it_names() -> None:
    """Which may be another than that in To."""
    async with edge() as at:
        await at.ask_one(message(b"#invite bob sip:chat-001@EXAMPLE.org\r\nignored"))
        (entry,) = at.store.entries
        assert (entry.type, entry.user, entry.room) == ("invite", "bob@example.org", "chat-001@example.org")


async def test_a_command_is_read_in_other_types_of_text() -> None:
    """A body that is not a command is delivered as it is."""
    async with edge() as at:
        await at.ask_one(message(b"<b>#destroy</b>", Content_Type="text/html;charset=latin-1"))
        await at.ask_one(message(b"<b>hello</b>", Content_Type="text/html;charset=latin-1"))
        await at.ask_one(message(b"#destroy", Content_Type="text/markdown"))
        first, second, third = at.store.entries
        assert (first.type, second.type, third.reason) == ("destroy", "message", "command_type")
        assert data_of(second).content_type == "text/html;charset=latin-1"
        assert data_of(second).body == b"<b>hello</b>"


@pytest.mark.parametrize(
    ("content_type", "body", "sent_type", "sent"),
    [
        ("text/plain", b"##1", "text/plain", b"#1"),
        ("text/plain;charset=UTF-8", b"##1", "text/plain;charset=UTF-8", b"#1"),
        ("text/plain;charset=utf-16le", "##é".encode("utf-16le"), "text/plain;charset=utf-8", "#é".encode()),
        ("text/plain;charset=iso-8859-1", b"##\xe9", "text/plain;charset=utf-8", "#é".encode()),
        ("text/html", b"<p>##1", "text/plain;charset=utf-8", b"#1"),
        ("message/cpim", b"From: <sip:alice@example.org>\r\n\r\n\r\n##1", "text/plain;charset=utf-8", b"#1"),
        ("message/cpim", said_by_linphone(b"##1"), "text/plain;charset=utf-8", b"#1"),
    ],
)
async def test_an_escaped_text_is_sent_as_plain_text(
    content_type: str, body: bytes, sent_type: str, sent: bytes
) -> None:
    """Without the escape, and in UTF-8 where it had to be decoded."""
    async with edge() as at:
        await at.ask_one(message(body, Content_Type=content_type))
        data = data_of(at.store.entries[0])
    assert (data.content_type, data.body) == (sent_type, sent)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/plain", b""), ("text/plain", b" \r\n"), ("text/html", b""),
        ("message/cpim", b"From: <sip:alice@example.org>\r\n\r\nContent-Type: text/plain\r\n\r\n "),
    ],
)  # fmt: skip
async def test_a_blank_text_is_accepted_and_not_sent(content_type: str, body: bytes) -> None:
    """And counted."""
    async with edge() as at:
        assert (await at.ask_one(message(body, Content_Type=content_type))).status == 202
        assert at.store.entries == []
        assert b'imc_ignored_total{reason="blank"} 1' in at.metrics.page()


async def test_a_body_that_is_not_utf8_is_passed_on_unchanged() -> None:
    """The charset is between sender and recipients."""
    async with edge() as at:
        await at.ask_one(message(b"gr\xfc\xdfe"))
        assert data_of(at.store.entries[0]).body == b"gr\xfc\xdfe"


@pytest.mark.parametrize(
    ("headers", "expected", "kept_ms"),
    [
        ({"Expires": "60"}, 1_700_000_060_000, 60_000),
        ({"Expires": "60", "Date": "Tue, 14 Nov 2023 22:13:10 GMT"}, 1_700_000_050_000, 50_000),
        ({"Expires": "60", "Date": "Tue, 14 Nov 2023 23:13:10 GMT"}, 1_700_000_060_000, 60_000),
        ({"Expires": "60", "Date": "yesterday"}, 1_700_000_060_000, 60_000),
        ({"Expires": "5", "Date": "Tue, 14 Nov 2023 22:13:10 GMT"}, 1_699_999_995_000, 0),
        ({"Expires": "0"}, 1_700_000_001_000, 0),
        ({"Date": "Tue, 14 Nov 2023 22:13:10 GMT"}, None, None),
    ],
)
async def test_expires_counts_from_date(
    headers: dict[str, str], expected: int | None, kept_ms: int | None
) -> None:
    """RFC 3428 §7; the time of the test is 22:13:20. A room may keep the message until then."""
    async with edge() as at:
        await at.ask_one(message(**headers))
        assert data_of(at.store.entries[0]).expires_at == expected
        assert at.store.entries[0].kept_ms == kept_ms
        await at.ask_one(message(b"#list", Call_ID="command", **headers))
        assert at.store.entries[1].kept_ms is None


async def test_equivalent_uris_of_a_room_are_one_room() -> None:
    """RFC 3261 §19.1.4."""
    async with edge() as at:
        await at.ask_one(message(uri="sips:%63hat-000@EXAMPLE.org:5070;x=y"))
        assert at.store.entries[0].room == "chat-000@example.org"


async def test_a_receipt_names_the_messages_that_it_is_about() -> None:
    """Each once; whatever wraps it. It is no message."""
    async with edge() as at:
        await at.ask_one(message(IMDN_DOCUMENT, Content_Type="message/imdn+xml"))
        both = LINPHONE_RECEIPTS.replace(b"sip.test;gr", b"example.org;gr")
        await at.ask_one(message(both, Content_Type="message/cpim"))
        one, two = at.store.entries
        assert (one.type, one.message_id) == ("disposition", "34jk324j -")
        assert (two.type, two.message_id) == ("disposition", "K1YTWFhxApxO - DekJ3EmNlcNi -")
        assert (one.detail, two.detail) == ("delivered", "displayed displayed")
        assert data_of(two).body == both


async def test_a_receipt_for_a_delivery_names_its_place_in_the_room() -> None:
    """Only if it was a delivery to this sender: the id cannot be made up."""
    ids = DeliveryIds(b"a secret of all edges")
    room, position = "chat-000@example.org", "1700000000000-7"
    event_id = ids.message_id(room, position, 0).decode()
    to_alice = ids.recipient_id("alice@example.org").decode() + f"{event_id}.{position}"
    to_bob = ids.recipient_id("bob@example.org").decode() + f"{event_id}.{position}"
    async with edge() as at:
        for delivery in (to_alice, f"{event_id}.{position}", to_bob, f"{event_id}.1-1", f"x{event_id}.1-1"):
            body = IMDN_DOCUMENT.replace(b"34jk324j", delivery.encode())
            await at.ask_one(message(body, Content_Type="message/imdn+xml"))
        places = [entry.message_id.split()[1] for entry in at.store.entries]
        assert places == [position, position, "-", "-", "-"]


async def test_a_typing_notification_is_soon_over() -> None:
    """It is not worth keeping for anybody."""
    async with edge() as at:
        await at.ask_one(message(RFC_3994_4, Content_Type="application/im-iscomposing+xml"))
        await at.ask_one(message(RFC_3994_4, Content_Type="application/im-iscomposing+xml", Expires="0"))
        one, two = at.store.entries
        assert one.type == two.type == "typing"
        assert [(data_of(each).expires_at or 0) - data_of(each).at for each in (one, two)] == [10_000, 1000]


async def test_a_typing_notification_says_whether_its_sender_has_stopped() -> None:
    """A state that is not known counts as idle (RFC 3994 §3.3)."""
    async with edge() as at:
        for state in (b"active", b"idle", b"thinking"):
            body = RFC_3994_4.replace(b"<state>active", b"<state>" + state)
            await at.ask_one(message(body, Content_Type="application/im-iscomposing+xml"))
        assert [entry.detail for entry in at.store.entries] == ["", "idle", "idle"]


async def test_a_message_that_asks_for_receipts_has_its_id() -> None:
    """Others have none, so nothing is kept for them."""
    body = LINPHONE.replace(b"sip.test;gr", b"example.org;gr")
    async with edge() as at:
        for sent in (
            body,
            body.replace(b"imdn.Disposition-Notification", b"X"),
            body.replace(b"one", b"#list"),
        ):
            await at.ask_one(message(sent, Content_Type="message/cpim"))
        assert [entry.message_id for entry in at.store.entries] == ["RSbxC2YjlvAF", "", ""]
        assert data_of(at.store.entries[0]).body == body


async def test_a_text_of_linphone_is_passed_on_byte_for_byte() -> None:
    """Redis gets it in a shorter form."""
    body = said_by_linphone(b"hello")
    async with edge() as at:
        await at.ask_one(message(body, Content_Type="message/cpim"))
        (entry,) = at.store.entries
        assert (entry.type, entry.cpim, entry.message_id) == ("message", True, "RSbxC2YjlvAF")
        assert data_of(entry).body == body
        assert len(entry.data) < len(body)
