"""Messages as clients with and without CPIM get them. What a prefix looks like is in test_texts.py.

Covers whole_text.py.
"""

from __future__ import annotations

import pytest

from imc_common.bodies.content import Content
from imc_common.bodies.cpim import Cpim
from imc_common.rooms.event import CPIM_CLIENT, DEVICE_CLIENT, IDLE, TEXT_CLIENT, Event
from imc_common.rooms.relayed import Text
from imc_common.rooms.request import RequestData
from imc_common.rooms.texts import render
from imc_common.settings import Settings
from tests.imc_common.bodies.corpus import (
    IMDN_DOCUMENT,
    LIME_TYPE,
    LINPHONE,
    LINPHONE_RECEIPTS,
    LINPHONE_TYPING,
    RFC_5438_6,
    RFC_5438_7_2,
    lime,
)

ALICE, BOB, ROOM = "alice@example.org", "bob@example.org", "chat-000@example.org"
AT = 1_700_000_000_000


def as_sent_to(client: str, content_type: str, body: bytes, name: str = "message", **more: str) -> Text:
    """What of Alice reaches Bob, who has this kind of client."""
    data = RequestData(content_type, body, display_name="Alice", at=AT)
    event = Event("1-1", 3, name, ROOM, (BOB,), actor=ALICE, data=data, client=client, **more)  # type: ignore[arg-type]
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
    assert text == as_sent_to(DEVICE_CLIENT, content_type, body)
    assert text.content_type == "message/cpim"
    cpim = Cpim.parse(text.body)
    assert cpim.envelope.senders == (f"Alice <sip:{ALICE}>",)
    assert [(each.name, each.value) for each in cpim.headers[1:3]] == [
        ("To", f"<sip:{ROOM}>"),
        ("DateTime", "2023-11-14T22:13:20Z"),
    ]
    assert cpim.envelope.message_id == "0123456789abcdef.1-1"
    assert not cpim.envelope.wants_receipts
    assert (cpim.part.content_type, cpim.part.content) == (content_type, body)


def test_what_is_cpim_already_is_relayed_byte_for_byte() -> None:
    """For a client with CPIM, and for one that is not known yet."""
    for client in (CPIM_CLIENT, DEVICE_CLIENT, ""):
        assert as_sent_to(client, "message/cpim", LINPHONE) == Text("message/cpim", LINPHONE)
        typing = as_sent_to(client, "message/cpim", LINPHONE_TYPING, "typing")
        assert typing == Text("message/cpim", LINPHONE_TYPING)


@pytest.mark.parametrize("client", ["", DEVICE_CLIENT, TEXT_CLIENT])
def test_an_encrypted_message_is_relayed_byte_for_byte(client: str) -> None:
    """In CPIM, no client would decrypt it."""
    body = lime(f"sip:{ALICE};gr=urn:uuid:1", f"sip:{BOB};gr=urn:uuid:2")
    assert as_sent_to(client, LIME_TYPE, body) == Text(LIME_TYPE, body)


def test_a_client_without_cpim_gets_the_text_with_the_prefix() -> None:
    """Wherever in the body it is."""
    prefix = b"<alice@example.org>: "
    assert as_sent_to(TEXT_CLIENT, "message/cpim", LINPHONE) == Text("text/plain", prefix + b"one")
    multipart = as_sent_to(TEXT_CLIENT, "Message/CPIM", RFC_5438_6)
    assert multipart == Text("text/plain;charset=utf-8", prefix + "Grüße".encode())
    image = LINPHONE.replace(b"text/plain", b"image/png")
    assert as_sent_to(TEXT_CLIENT, "message/cpim", image) == Text("image/png", b"one")
    assert as_sent_to(TEXT_CLIENT, "text/plain", b"hello") == Text("text/plain", prefix + b"hello")


def in_cpim(content_type: str, content: bytes) -> bytes:
    """A CPIM message with this part."""
    return (
        b"From: <sip:alice@example.org>\r\n\r\nContent-Type: " + content_type.encode() + b"\r\n\r\n" + content
    )


def multipart(kind: str, *parts: tuple[str, bytes]) -> tuple[str, bytes]:
    """Type and content of a multipart with these parts."""
    boundary = f"b{len(parts)}{kind[:2]}"
    pieces = [
        b"--%b\r\nContent-Type: %b\r\n\r\n%b\r\n" % (boundary.encode(), t.encode(), c) for t, c in parts
    ]
    return f"multipart/{kind};boundary={boundary}", b"".join(pieces) + b"--" + boundary.encode() + b"--"


A, B, C = (("text/plain", letter) for letter in (b"a", b"b", b"c"))
HTML = ("text/html", b"<p>x&lt;<br>y</p>")
IMAGE = ("image/png", b"\x89")


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (multipart("mixed", A, B), "a\nb"),
        (multipart("mixed", A, IMAGE, ("text/plain", b" "), HTML), "a\nx<\ny"),
        (multipart("unknown", A, B), "a\nb"),
        (multipart("alternative", A, HTML), "a"),
        (multipart("alternative", HTML, A), "x<\ny"),
        (multipart("alternative", IMAGE, A), "a"),
        (multipart("related", HTML, B), "x<\ny"),
        (multipart("mixed", multipart("alternative", A, HTML), B, C), "a\nb\nc"),
        (("text/html", b"<b>" + b"0123456789 " * 4000 + b"end</b>"), "0123456789 " * 4000 + "end"),
        (("text/html", b"".join(b"<p>%d</p>" % n for n in range(3000))), "\n\n".join(map(str, range(3000)))),
        (("text/plain;charset=iso-8859-1", b"\xfc" * 5000), None),
    ],
)
def test_a_client_without_cpim_gets_all_of_the_text(parts: tuple[str, bytes], expected: str | None) -> None:
    """Of HTML, too, and of all parts that belong together; once if it comes in several forms."""
    text = as_sent_to(TEXT_CLIENT, "message/cpim", in_cpim(*parts))
    prefix = b"<alice@example.org>: "
    if expected is None:
        assert text == Text(parts[0], prefix + parts[1])
    else:
        assert text == Text("text/plain;charset=utf-8", prefix + expected.encode())


def test_a_client_without_cpim_gets_a_typing_notification_as_it_is_inside() -> None:
    """Its document."""
    text = as_sent_to(TEXT_CLIENT, "message/cpim", LINPHONE_TYPING, "typing")
    assert text.content_type == "application/im-iscomposing+xml"
    assert Content.parse(text.content_type, text.body).composing is not None


@pytest.mark.parametrize("client", ["", TEXT_CLIENT, CPIM_CLIENT, DEVICE_CLIENT])
def test_an_idle_says_that_nobody_is_typing_and_comes_from_the_room(client: str) -> None:
    """No client shows it. It is in CPIM for the clients that need that."""
    (text,) = render(Event("1-1", 3, IDLE, ROOM, (BOB,), actor=ROOM, client=client), Settings())
    content = Content.parse(text.content_type, text.body)
    assert content.composing is not None
    assert not content.composing.is_active
    is_wrapped = client in {CPIM_CLIENT, DEVICE_CLIENT}
    assert text.content_type == ("message/cpim" if is_wrapped else "application/im-iscomposing+xml")
    if is_wrapped:
        assert Cpim.parse(text.body).envelope.senders == (f"<sip:{ROOM}>",)


def test_a_nickname_is_the_name_of_the_author() -> None:
    """As in From of the delivery."""
    cpim = Cpim.parse(as_sent_to(CPIM_CLIENT, "text/plain", b"x", nick="Ali").body)
    assert cpim.envelope.senders == (f"Ali <sip:{ALICE}>",)


def test_the_answer_to_a_command_in_cpim_is_cpim() -> None:
    """From the room; others get the same notice as plain text."""
    data = RequestData("message/cpim", LINPHONE, at=AT)
    for to, content_type in (
        ((ALICE,), "message/cpim"),
        ((BOB,), "text/plain"),
        ((ALICE, BOB), "text/plain"),
    ):
        event = Event("1-1", 3, "left", ROOM, to, actor=ALICE, data=data)
        [text] = render(event, Settings(), "id")
        assert text.content_type == content_type
        read = Content.parse(text.content_type, text.body)
        assert (read.text or b"").startswith(b"*** ")
        assert read.envelope is None or read.envelope.senders == (f"<sip:{ROOM}>",)


def test_the_answers_on_several_pages_have_ids_of_their_own() -> None:
    """The same one twice is dropped as a duplicate by Linphone."""
    members = " ".join(f"member:user{number:04}@example.org" for number in range(200))
    event = Event(
        "1-1",
        3,
        "members",
        ROOM,
        (ALICE,),
        actor=ALICE,
        list=members,
        data=RequestData("message/cpim", LINPHONE),
    )
    pages = render(event, Settings(), "id")
    assert len({Cpim.parse(page.body).envelope.message_id for page in pages}) == len(pages) > 1


def receipts(content_type: str, body: bytes, *ids: str, client: str = "", **more: RequestData) -> list[Text]:
    """What an author gets of a body with receipts by Bob."""
    data = RequestData(content_type, body, at=AT)
    of = {"list": " ".join(ids), "client": client}
    return render(
        Event("1-1", 3, "disposition", ROOM, (ALICE,), actor=BOB, data=data, **of, **more),  # type: ignore[arg-type]
        Settings(),
    )


def test_a_receipt_is_relayed_byte_for_byte() -> None:
    """Also two for one author."""
    assert receipts("message/cpim", LINPHONE_RECEIPTS, "K1YTWFhxApxO", "DekJ3EmNlcNi", client="cpim") == [
        Text("message/cpim", LINPHONE_RECEIPTS)
    ]
    assert receipts("message/imdn+xml", IMDN_DOCUMENT, "34jk324j") == [
        Text("message/imdn+xml", IMDN_DOCUMENT)
    ]


def test_receipts_for_several_authors_are_split() -> None:
    """Each author gets only its own, in a CPIM message with the same headers."""
    [text] = receipts("message/cpim", LINPHONE_RECEIPTS, "DekJ3EmNlcNi")
    content, cpim = Content.parse(text.content_type, text.body), Cpim.parse(text.body)
    assert [imdn.message_id for imdn in content.imdns] == ["DekJ3EmNlcNi"]
    assert cpim.headers == Cpim.parse(LINPHONE_RECEIPTS).headers
    assert cpim.part.get("content-disposition") == "notification"


def test_a_receipt_for_a_delivery_names_the_message_as_its_author_does() -> None:
    """By the Call-ID that it had when it was sent; in CPIM by its Message-ID."""
    plain = RequestData(call_id="a84b4c76e66710@pc33.example")
    renamed = IMDN_DOCUMENT.replace(b"34jk324j", b"a84b4c76e66710@pc33.example")
    assert receipts("message/imdn+xml", IMDN_DOCUMENT, "34jk324j", about=plain) == [
        Text("message/imdn+xml", renamed)
    ]
    in_cpim = RequestData("message/cpim", LINPHONE, call_id="x")
    [text] = receipts("message/imdn+xml", IMDN_DOCUMENT, "34jk324j", about=in_cpim, client="cpim")
    content = Content.parse(text.content_type, text.body)
    assert [imdn.message_id for imdn in content.imdns] == ["RSbxC2YjlvAF"]
    assert content.envelope is not None
    assert content.envelope.senders == (f"<sip:{BOB}>",)


def test_an_author_without_cpim_gets_the_receipt_of_a_reader_with_cpim() -> None:
    """As a document."""
    plain = RequestData(call_id="c1")
    [text] = receipts("message/cpim", RFC_5438_7_2, "34jk324j", about=plain)
    assert text == Text("message/imdn+xml", IMDN_DOCUMENT.replace(b"34jk324j", b"c1"))
    [text] = receipts("message/cpim", RFC_5438_7_2, "34jk324j", client="text")
    assert text == Text("message/imdn+xml", IMDN_DOCUMENT)


def test_a_receipt_into_which_another_name_does_not_fit_is_left_out() -> None:
    """It stops nothing."""
    cdata = IMDN_DOCUMENT.replace(b"34jk324j", b"<![CDATA[34jk324j]]>")
    assert receipts("message/imdn+xml", cdata, "34jk324j", about=RequestData(call_id="c1")) == []
    broken = RequestData("message/cpim", b"no CPIM")
    assert receipts("message/imdn+xml", IMDN_DOCUMENT, "34jk324j", about=broken) == []
