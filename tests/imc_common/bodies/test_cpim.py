"""CPIM messages (RFC 3862). Covers mime_part.py."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imc_common.bodies.content import Content
from imc_common.bodies.cpim import Cpim, CpimHeader
from imc_common.bodies.errors import BodyError
from imc_common.bodies.mime_part import MimePart
from tests.imc_common.bodies import corpus
from tests.mutator import Mutator


@pytest.mark.parametrize("body", corpus.CPIM)
def test_every_example_is_the_same_after_a_round_trip(body: bytes) -> None:
    """As values, and as bytes once they are written in one way."""
    cpim = Cpim.parse(body)
    assert Cpim.parse(cpim.to_bytes()) == cpim
    assert Cpim.parse(cpim.to_bytes()).to_bytes() == cpim.to_bytes()


def test_the_bytes_of_linphone_are_written_as_they_came() -> None:
    """Nothing is added, and nothing lost."""
    assert Cpim.parse(corpus.LINPHONE).to_bytes() == corpus.LINPHONE


def test_headers_have_namespace_parameters_and_value() -> None:
    """RFC 3862 §5.1; the block of the object's own Content-Type is no part of them."""
    cpim = Cpim.parse(corpus.RFC_3862_5_1)
    assert cpim.headers[0] == CpimHeader("From", "MR SANDERS <im:piglet@100akerwood.com>")
    assert cpim.headers[4] == CpimHeader("Subject", "beau temps prevu pour aujourd'hui", params=("lang=fr",))
    assert cpim.get("mid:MessageFeatures@id.foo.com", "vitalmessageoption") == "Confirmation-requested"
    assert cpim.part.content_type == "text/xml; charset=utf-8"
    assert cpim.part.get("content-id") == "<1234567890@foo.com>"


def test_a_receipt_is_asked_for_under_any_prefix() -> None:
    """RFC 3862 §3.4: NS decides what a prefix means."""
    for body in (corpus.RFC_5438_7_1, corpus.RFC_5438_6, corpus.LINPHONE.replace(b"NS: imdn", b"X: imdn")):
        envelope = Cpim.parse(body).envelope
        assert envelope.message_id in {"34jk324j", "RSbxC2YjlvAF"}
        assert envelope.wants_receipts
    assert not Cpim.parse(corpus.RFC_5438_6.replace(b"params:imdn", b"params:x")).envelope.message_id


def test_mime_headers_among_those_of_cpim_belong_to_the_part() -> None:
    """The examples of RFC 5438 have them there."""
    cpim = Cpim.parse(corpus.RFC_5438_7_1)
    assert cpim.part == MimePart((("Content-type", "text/plain"), ("Content-length", "12")), b"Hello World")
    assert [header.name for header in cpim.headers] == [
        *("From", "To", "NS", "Message-ID", "DateTime", "Disposition-Notification")
    ]
    paragraphs = Cpim.parse(corpus.RFC_5438_7_1 + b"\r\n\r\na: b")
    assert paragraphs.part.content == b"Hello World\r\n\r\na: b"


def test_an_id_that_cannot_stand_in_a_receipt_is_none() -> None:
    """Nobody could find the author by it."""
    for value in (b"", b"two words", b"x" * 200, "é".encode(), b"\\u0000"):
        assert not Cpim.parse(corpus.LINPHONE.replace(b"RSbxC2YjlvAF", value)).envelope.message_id


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"100\u0025", "100%"),
        (r"\"quoted\"", '"quoted"'),
        (r"back\\slash", "back\\slash"),
        (r"a\tb\nc\rd\be", "a\tb\nc\rd\be"),
        (r"\ud800", "\ufffd"),
        ("Grüße", "Grüße"),
    ],
)
def test_escapes_of_a_value(written: str, meant: str) -> None:
    """RFC 3862 §2.3.2."""
    cpim = Cpim.parse(f"Subject: {written}\r\n\r\n\r\nx".encode())
    assert cpim.headers[0].value == meant
    assert Cpim.parse(cpim.to_bytes()) == cpim


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"From: <sip:a@b>\r\n",
        b"From: <sip:a@b>\r\n\r\nContent-Type: text/plain",
        b"From: <sip:a@b>\r\n <sip:c@d>\r\n\r\n\r\n",
        b"From <sip:a@b>\r\n\r\n\r\nx",
        b"Subject: " + b"x" * 9000 + b"\r\n\r\n\r\nx",
        b"\r\n" * 9000,
        b"a:b\r\n\r\n" + b"c: " + b"d" * 5000 + b"\r\n\r\nx",
    ],
)
def test_what_is_no_cpim_is_an_error(body: bytes) -> None:
    """It says so, and costs little."""
    with pytest.raises(BodyError):
        Cpim.parse(body)


def test_content_is_the_same_bytes() -> None:
    """Line ends, NUL and what is no UTF-8 are of no concern to the headers before them."""
    content = b"\x00\xff\r\rb\n\n\r\n"
    assert MimePart.parse(b"Content-Type: a/b\r\n\r\n" + content).content == content
    assert MimePart.parse(b"\r\n" + content).content == content
    assert Cpim.parse(b"From: <sip:a@b>\r\n\r\n\r\n" + content).part.content == content


_TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
_NAME = st.text("abcXYZ-", min_size=1, max_size=8)


@given(st.lists(st.tuples(_NAME, _TEXT), min_size=1, max_size=5), st.binary(max_size=40))
def test_any_headers_survive_a_round_trip(headers: list[tuple[str, str]], content: bytes) -> None:
    """Whatever is in a value, it stays one line."""
    made = Cpim(
        tuple(CpimHeader(f"x{name}", value.strip()) for name, value in headers),
        MimePart((("Content-Type", "text/plain"),), content),
    )
    assert Cpim.parse(made.to_bytes()) == made


def test_mutated_examples_are_read_or_refused() -> None:
    """No other error, whatever is in a body; and what is read can be written and read again."""
    mutator, read = Mutator(random.Random(3862)), []
    for _ in range(1000):
        body = mutator.mutate(corpus.CPIM)
        with suppress(BodyError):
            read.append(Cpim.parse(body))
        for content_type in ("message/cpim", "multipart/mixed;boundary=b"):
            with suppress(BodyError):
                Content.parse(content_type, body)
    assert read
    for cpim in read:
        assert Cpim.parse(cpim.to_bytes()).to_bytes() == cpim.to_bytes()
