"""The fast path for CPIM finds the same as the full parser, or leaves the body to it."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imc_common.bodies.content import Content
from imc_common.bodies.cpim import MAX_MESSAGE_ID
from imc_common.bodies.usual_cpim import MAX_HEAD, UsualCpim, lengthened
from tests.imc_common.bodies import corpus
from tests.imc_common.sip.strategies import unhurried
from tests.mutator import Mutator

CPIM = "message/cpim"
CLIENTS = Path(__file__).parents[2] / "conformance" / "clients"
ANDROID = (CLIENTS / "linphone-android.txt").read_bytes().partition(b"\n\nFrom: ")[2]
USUAL = (
    corpus.LINPHONE,
    b"From: " + ANDROID.replace(b"\n", b"\r\n"),
    corpus.LINPHONE.replace(
        b"imdn.Disposition-Notification: positive-delivery", b"imdn.Disposition-Notification: d"
    ),
    corpus.LINPHONE.replace(b"text/plain", b"text/plain; charset=UTF-8"),
    corpus.LINPHONE.replace(b"text/plain", b"text/plain;charset=utf-8"),
    corpus.LINPHONE.replace(b"Content-Length: 3\r\n", b""),
    corpus.LINPHONE.replace(b"From: ", "From: Jürgen von Ö ".encode()),
    corpus.LINPHONE.replace(b"From: ", b"From:   \xff  "),
    corpus.LINPHONE.replace(b"one", b"\x00\xff\r\n\r\nFrom: <sip:dave@example.org>\r\n"),
    corpus.LINPHONE.replace(b"one", b"about message/CPIM"),
    corpus.LINPHONE.replace(b"one", b""),
)
WITHOUT_WISH = corpus.LINPHONE.partition(b"imdn.Disp")[0] + b"\r\nContent-Type: text/plain\r\n\r\none"
WITHOUT_ID = corpus.LINPHONE.partition(b"NS:")[0] + b"\r\nContent-Type: text/plain\r\n\r\none"


def agree(body: bytes) -> bool:
    """Whether the fast path accepts the body; then both must find the same."""
    usual = UsualCpim.parse(body)
    if usual is None:
        return False
    content = Content.parse(CPIM, body)
    assert replace(content, shortened=b"") == Content.parse_fully(CPIM, body)
    assert content.shortened == usual.shortened
    assert lengthened(usual.shortened) == body
    return True


@pytest.mark.parametrize("body", [*USUAL, WITHOUT_WISH, WITHOUT_ID], ids=repr)
def test_what_clients_send_takes_the_fast_path(body: bytes) -> None:
    """With any text, and with or without a wish for receipts."""
    assert agree(body)


@pytest.mark.parametrize(
    "body",
    [
        *(each for each in corpus.CPIM if each is not corpus.LINPHONE),
        corpus.LINPHONE.replace(b"From: <", b"From: \\u0041 <"),
        corpus.LINPHONE.replace(b"From: ", b"From:;lang=en "),
        corpus.LINPHONE.replace(b"From: ", b"From:"),
        corpus.LINPHONE.replace(b"From: ", b"from: "),
        corpus.LINPHONE.replace(b"From: ", b"c.From: "),
        corpus.LINPHONE.replace(b"To: ", b"From: <sip:dave@example.org>\r\nTo: "),
        corpus.LINPHONE.replace(b"DateTime: ", b" <sip:dave@example.org>\r\nDateTime: "),
        corpus.LINPHONE.replace(b"From: ", b"\xef\xbb\xbfFrom: "),
        corpus.LINPHONE.replace(b"NS: imdn <urn:ietf:params:imdn>", b"NS: imdn <urn:x>"),
        corpus.LINPHONE.replace(b"NS: imdn <urn:ietf:params:imdn>\r\n", b""),
        corpus.LINPHONE.replace(b"imdn.M", b"M"),
        corpus.LINPHONE.replace(b"RSbxC2YjlvAF", b"two words"),
        corpus.LINPHONE.replace(b"RSbxC2YjlvAF", b"x" * (MAX_MESSAGE_ID + 1)),
        corpus.LINPHONE.replace(
            b"Notification: positive-delivery, negative-delivery, display", b"Notification: "
        ),
        corpus.LINPHONE.replace(b"text/plain", b"text/plain;charset=iso-8859-1"),
        corpus.LINPHONE.replace(b"text/plain", b"text/html"),
        corpus.LINPHONE.replace(b"text/plain", b"text/plain\r\nContent-Transfer-Encoding: base64"),
        corpus.LINPHONE.replace(b"text/plain", b"text/plain\r\nContent-Type: message/cpim"),
        corpus.LINPHONE.replace(b"Content-Type: text/plain\r\n", b""),
        corpus.LINPHONE.replace(
            b"one", b"Content-Type:\r\n Message/CPIM\r\n\r\nFrom: <sip:dave@example.org>"
        ),
        corpus.LINPHONE.replace(b"alice", b"a" * MAX_HEAD),
        corpus.LINPHONE.replace(b"\r\n", b"\n"),
        corpus.LINPHONE.replace(b"\r\n", b"\r"),
    ],
    ids=repr,
)
def test_all_else_is_left_to_the_full_parser(body: bytes) -> None:
    """Even if that accepts it."""
    assert UsualCpim.parse(body) is None


def test_the_headers_of_linphone_take_a_third_in_their_shorter_form() -> None:
    """What is the same in every message is left out."""
    usual = UsualCpim.parse(corpus.LINPHONE)
    assert usual is not None
    assert len(corpus.LINPHONE) - len(usual.shortened) > 190


@pytest.mark.parametrize("shortened", [b"x", b"\n" * 6])
def test_what_is_no_shorter_form_is_an_error(shortened: bytes) -> None:
    """Of a broken entry."""
    with pytest.raises(ValueError, match="unpack"):
        lengthened(shortened)


def test_both_paths_agree_on_mutated_bodies() -> None:
    """The fast path never accepts what the full parser refuses or reads in another way."""
    mutator, accepted = Mutator(random.Random(3862)), 0
    for _ in range(3000):
        accepted += agree(mutator.mutate(USUAL))
    assert accepted


@unhurried
@given(st.integers(0, 2**32), st.sampled_from([*USUAL, WITHOUT_WISH, WITHOUT_ID]))
def test_both_paths_agree_on_damaged_bodies(seed: int, body: bytes) -> None:
    """Bytes changed, repeated, removed."""
    rng = random.Random(seed)
    bent = bytearray(body)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(max(1, len(bent) - 3))
        match rng.randrange(4):
            case 0:
                bent[at] = rng.choice(b'\x00\t\r\n ",;:<>\\.@?=%[]0Aaz~\x7f\x85\xc3')
            case 1:
                del bent[at]
            case 2:
                bent[at:at] = bent[at : at + rng.randint(1, 40)]
            case _:
                bent[at:at] = bytes([rng.choice(b'\r\n ;:<>"0a\\')])
    agree(bytes(bent))
