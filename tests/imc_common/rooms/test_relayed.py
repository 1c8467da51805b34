"""Messages as clients with and without CPIM get them. What a prefix looks like is in test_texts.py."""

from __future__ import annotations

import pytest

from imc_common.bodies.content import Content
from imc_common.bodies.cpim import Cpim
from imc_common.rooms.event import CPIM_CLIENT, TEXT_CLIENT, Event
from imc_common.rooms.relayed import Text
from imc_common.rooms.request import RequestData
from imc_common.rooms.texts import render
from imc_common.settings import Settings
from tests.imc_common.bodies.corpus import IMDN_DOCUMENT, LINPHONE, LINPHONE_TYPING, RFC_5438_6

ALICE, BOB, ROOM = "alice@example.org", "bob@example.org", "chat-000@example.org"
AT = 1_700_000_000_000


def as_sent_to(client: str, content_type: str, body: bytes, name: str = "message", **more: str) -> Text:
    """What of Alice reaches Bob, who has this kind of client."""
    data = RequestData(content_type, body, display_name="Alice", at=AT)
    event = Event("1-1", 3, name, ROOM, (BOB,), ALICE, data=data, client=client, **more)  # type: ignore[arg-type]
    [text] = render(event, Settings(), "0123456789abcdef.1-1")
    return text


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/plain", b"hello"),
        ("text/plain;charset=utf-16le", "hé".encode("utf-16le")),
        ("image/png", b"\x00"),
    ],
)
def test_a_client_with_cpim_gets_every_message_in_cpim(content_type: str, body: bytes) -> None:
    """From is the author, and the content is untouched: a prefix would show the author twice."""
    text = as_sent_to(CPIM_CLIENT, content_type, body)
    assert text.content_type == "message/cpim"
    cpim = Cpim.parse(text.body)
    assert cpim.senders == [f"Alice <sip:{ALICE}>"]
    assert [(each.name, each.value) for each in cpim.headers[1:3]] == [
        ("To", f"<sip:{ROOM}>"),
        ("DateTime", "2023-11-14T22:13:20Z"),
    ]
    assert (cpim.message_id, cpim.wants_receipts) == ("0123456789abcdef.1-1", False)
    assert (cpim.part.content_type, cpim.part.content) == (content_type, body)


def test_what_is_cpim_already_is_relayed_byte_for_byte() -> None:
    """For a client with CPIM, and for one that is not known yet."""
    for client in (CPIM_CLIENT, ""):
        assert as_sent_to(client, "message/cpim", LINPHONE) == Text("message/cpim", LINPHONE)
        typing = as_sent_to(client, "message/cpim", LINPHONE_TYPING, "typing")
        assert typing == Text("message/cpim", LINPHONE_TYPING)


def test_a_client_without_cpim_gets_the_text_with_the_prefix() -> None:
    """Wherever in the body it is."""
    prefix = b"<alice@example.org>: "
    assert as_sent_to(TEXT_CLIENT, "message/cpim", LINPHONE) == Text("text/plain", prefix + b"one")
    multipart = as_sent_to(TEXT_CLIENT, "Message/CPIM", RFC_5438_6)
    assert multipart == Text("text/plain;charset=utf-8", prefix + "Grüße".encode())
    image = LINPHONE.replace(b"text/plain", b"image/png")
    assert as_sent_to(TEXT_CLIENT, "message/cpim", image) == Text("image/png", b"one")
    assert as_sent_to(TEXT_CLIENT, "text/plain", b"hello") == Text("text/plain", prefix + b"hello")


def test_a_client_without_cpim_gets_a_typing_notification_as_it_is_inside() -> None:
    """Its document."""
    text = as_sent_to(TEXT_CLIENT, "message/cpim", LINPHONE_TYPING, "typing")
    assert text.content_type == "application/im-iscomposing+xml"
    assert Content.parse(*text).composing is not None


def test_a_nickname_is_the_name_of_the_author() -> None:
    """As in From of the delivery."""
    cpim = Cpim.parse(as_sent_to(CPIM_CLIENT, "text/plain", b"x", nick="Ali").body)
    assert cpim.senders == [f"Ali <sip:{ALICE}>"]


def test_the_answer_to_a_command_in_cpim_is_cpim() -> None:
    """From the room; others get the same notice as plain text."""
    data = RequestData("message/cpim", LINPHONE, at=AT)
    for to, content_type in (
        ((ALICE,), "message/cpim"),
        ((BOB,), "text/plain"),
        ((ALICE, BOB), "text/plain"),
    ):
        event = Event("1-1", 3, "left", ROOM, to, ALICE, data=data)
        [text] = render(event, Settings(), "id")
        assert text.content_type == content_type
        read = Content.parse(*text)
        assert (read.text or b"").startswith(b"*** ")
        assert read.cpim is None or read.cpim.senders == [f"<sip:{ROOM}>"]


def test_the_answers_on_several_pages_have_ids_of_their_own() -> None:
    """The same one twice is dropped as a duplicate by Linphone."""
    members = " ".join(f"member:user{number:04}@example.org" for number in range(200))
    event = Event(
        "1-1", 3, "members", ROOM, (ALICE,), ALICE, list=members, data=RequestData("message/cpim", LINPHONE)
    )
    pages = render(event, Settings(), "id")
    assert len({Cpim.parse(page.body).message_id for page in pages}) == len(pages) > 1


def test_a_receipt_of_the_corpus_is_no_message() -> None:
    """For an author with a client of any kind."""
    text = as_sent_to("", "message/imdn+xml", IMDN_DOCUMENT, "disposition", list="34jk324j 34jk324j")
    assert text == Text("message/imdn+xml", IMDN_DOCUMENT)
