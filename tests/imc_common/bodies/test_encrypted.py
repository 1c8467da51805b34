"""Encrypted messages of Linphone: who has sent them is in clear, and nothing else."""

from __future__ import annotations

import pytest

from imc_common.bodies.content import Content
from imc_common.bodies.encrypted import MAX_PARTS, is_encrypted
from imc_common.bodies.errors import BodyError
from tests.imc_common.bodies.corpus import LIME_TYPE, lime

ALICE = "sip:alice@example.org;gr=urn:uuid:1"
LINE = b"--" + LIME_TYPE.rpartition("boundary=")[2].encode()
CPIM_PART = b"Content-Type: message/cpim\r\n"


def test_the_part_in_clear_names_the_author() -> None:
    """However many devices there are; commands and receipts are not looked for."""
    body = lime(ALICE, *(f"sip:bob@example.org;gr=urn:uuid:{number}" for number in range(60)))
    content = Content.parse(LIME_TYPE, body)
    assert content.clear_envelope is not None
    assert content.clear_envelope.senders == (f"<{ALICE}>",)
    assert content.clear_envelope.message_id == "Yt2~q8"
    assert (content.text, content.imdns, content.envelope, content.nests_cpim) == (None, (), None, False)


def test_an_old_client_names_the_author_in_another_part() -> None:
    """Before version 4.4, without CPIM."""
    first, _, rest = lime(ALICE).partition(LINE + b"\r\nContent-Type: message/sipfrag")
    assert first
    content = Content.parse(LIME_TYPE, LINE + b"\r\nContent-Type: message/sipfrag" + rest)
    assert content.clear_envelope is None


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        (LIME_TYPE, True),
        ("Multipart / Encrypted; Protocol=Application/LIME; boundary=x", True),
        ('multipart/encrypted;protocol="application/pgp-encrypted";boundary=x', False),
        ("multipart/encrypted;boundary=x", False),
        ("multipart/mixed;protocol=application/lime", False),
    ],
)
def test_other_encryption_is_another_type(content_type: str, expected: bool) -> None:
    assert is_encrypted(content_type) is expected


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(b"message/sipfrag", b"text/plain", id="a part that clients would show"),
        pytest.param(b"message/sipfrag", b"message/cpim", id="two senders"),
        pytest.param(CPIM_PART, CPIM_PART + b"Content-Encoding: deflate\r\n", id="a sender that is packed"),
        pytest.param(
            CPIM_PART, CPIM_PART + b"Content-Transfer-Encoding: base64\r\n", id="a sender in base64"
        ),
        pytest.param(LINE + b"--", LINE + b"x", id="another boundary that begins alike"),
        pytest.param(LINE + b"--", b"", id="no end"),
        pytest.param(b"Content-Type: message/cpim\r\n", b"", id="a part without a type"),
        pytest.param(b"message/sipfrag\r\n\r\n", b"message/sipfrag\r\n", id="a part without a body"),
        pytest.param(b"From: ", b"From ", id="malformed CPIM"),
    ],
)
def test_what_is_no_encrypted_message_is_an_error(before: bytes, after: bytes) -> None:
    body = lime(ALICE)
    assert before in body
    with pytest.raises(BodyError):
        Content.parse(LIME_TYPE, body.replace(before, after))


def test_an_encrypted_message_needs_a_boundary_and_has_few_parts() -> None:
    with pytest.raises(BodyError, match="Boundary"):
        Content.parse("multipart/encrypted;protocol=application/lime", lime(ALICE))
    devices = [f"sip:b@example.org;gr={number}" for number in range(MAX_PARTS)]
    with pytest.raises(BodyError, match="Too Many Parts"):
        Content.parse(LIME_TYPE, lime(ALICE, *devices))
