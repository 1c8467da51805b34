"""What workers read of a SIP request."""

from __future__ import annotations

import pytest

from tests.imc_edge.doubles import data_of, edge, message


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


async def test_only_plain_text_can_be_a_command() -> None:
    """Other content is delivered as it is."""
    async with edge() as at:
        await at.ask_one(message(b"#destroy", Content_Type="text/html;charset=latin-1"))
        (entry,) = at.store.entries
        assert entry.type == "message"
        assert data_of(entry).content_type == "text/html;charset=latin-1"


async def test_a_body_that_is_not_utf8_is_passed_on_unchanged() -> None:
    """The charset is between sender and recipients."""
    async with edge() as at:
        await at.ask_one(message(b"gr\xfc\xdfe"))
        assert data_of(at.store.entries[0]).body == b"gr\xfc\xdfe"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Expires": "60"}, 1_700_000_060_000),
        ({"Expires": "60", "Date": "Tue, 14 Nov 2023 22:13:10 GMT"}, 1_700_000_050_000),
        ({"Expires": "60", "Date": "Tue, 14 Nov 2023 23:13:10 GMT"}, 1_700_000_060_000),
        ({"Expires": "60", "Date": "yesterday"}, 1_700_000_060_000),
        ({"Expires": "0"}, 1_700_000_001_000),
        ({"Date": "Tue, 14 Nov 2023 22:13:10 GMT"}, None),
    ],
)
async def test_expires_counts_from_date(headers: dict[str, str], expected: int | None) -> None:
    """RFC 3428 §7; the time of the test is 22:13:20."""
    async with edge() as at:
        await at.ask_one(message(**headers))
        assert data_of(at.store.entries[0]).expires_at == expected


async def test_equivalent_uris_of_a_room_are_one_room() -> None:
    """RFC 3261 §19.1.4."""
    async with edge() as at:
        await at.ask_one(message(To="<sips:%63hat-000@EXAMPLE.org:5070;x=y>"))
        assert at.store.entries[0].room == "chat-000@example.org:5070"
