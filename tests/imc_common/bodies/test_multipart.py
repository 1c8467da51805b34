"""Multipart bodies (RFC 2046 §5.1)."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from imc_common.bodies.content import Content
from imc_common.bodies.mime_part import MimePart
from imc_common.bodies.multipart import MAX_PARTS, joined, parts_of
from tests.imc_common.bodies import corpus


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_parts_survive_a_round_trip(contents: list[bytes]) -> None:
    """As long as none of them has the boundary."""
    parts = [MimePart((("Content-Type", "a/b"),), content) for content in contents]
    body = joined(parts, "0123456789abcdef")
    assert parts_of("multipart/mixed;boundary=0123456789abcdef", body) == parts


def test_the_receipts_of_linphone_are_found_in_their_multipart() -> None:
    """Two in one CPIM message."""
    content = Content.parse("message/cpim", corpus.LINPHONE_RECEIPTS)
    assert [imdn.message_id for imdn in content.imdns] == ["K1YTWFhxApxO", "DekJ3EmNlcNi"]
    assert {imdn.status for imdn in content.imdns} == {"displayed"}
    assert content.text is None


def test_text_beside_a_receipt_is_a_message() -> None:
    """What a person wrote is never held back as a receipt."""
    parts = [
        MimePart((("Content-Type", "message/imdn+xml"),), corpus.IMDN_DOCUMENT),
        MimePart((("Content-Type", "text/plain"),), b"hello"),
    ]
    content = Content.parse("multipart/mixed;boundary=b", joined(parts, "b"))
    assert content.text == b"hello"
    assert not content.imdns


def test_parts_that_cannot_be_read_are_left_out() -> None:
    """The others are there."""
    body = b"--b\r\nno headers\r\n--b\r\n\r\nhello\r\n--b--"
    assert parts_of("multipart/mixed;boundary=b", body) == [MimePart((), b"hello")]


def test_the_work_is_bounded() -> None:
    """Whatever is in a body of the largest size."""
    many = b"--b\r\n\r\n" * 8000
    assert len(parts_of("multipart/mixed;boundary=b", many)) <= MAX_PARTS
    params = b"--b\r\nContent-Type: text/plain" + b";a" * 32_000 + b"\r\n\r\nx\r\n--b--"
    before = time.process_time()
    for _ in range(10):
        Content.parse("multipart/mixed;boundary=b", many)
        Content.parse("multipart/mixed;boundary=b", params)
    assert time.process_time() - before < 2
