"""The text in bodies of all types that clients send.

Covers charsets.py, essence.py and html.py.
"""

from __future__ import annotations

import base64
import gzip
import quopri
import time
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imc_common.bodies.charsets import ASCII_COMPATIBLE, NOT_ASCII_COMPATIBLE, charset_of
from imc_common.bodies.content import Content
from imc_common.bodies.encoding import TooLargeError
from imc_common.bodies.errors import BodyError


def text_of(content_type: str, body: bytes) -> bytes | None:
    """The text in a body; None if it has none."""
    try:
        return Content.parse(content_type, body).text
    except BodyError:
        return None


PARTS = "multipart/mixed;boundary=b"


def cpim(headers: str, content: bytes) -> bytes:
    """A CPIM message with these MIME headers, lines with LF."""
    return (
        b"From: <sip:a@b>\r\nSubject: x\r\n\r\n" + headers.replace("\n", "\r\n").encode() + b"\r\n" + content
    )


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/plain", b"#list"),
        ("Text / Plain;charset=x", b""),
        ("text/plain;charset=utf-8", b"#list"),
        ("text/plain;charset=utf-16le", "#list".encode("utf-16le")),
        ("text/plain;charset=UTF-16", "#list".encode("utf-16")),
        ("message/cpim", cpim("Content-Type: text/plain; charset=utf-8\n", b"#list")),
        ("Message/CPIM", cpim("content-type:\n text/html\n", b"<p>#list</p>")),
        ("message/cpim", cpim("", b"#list")),
        ("message/cpim", b"From: <sip:a@b>\n\nContent-type: text/plain\n\n#list"),
        ("message/cpim", cpim("Content-Transfer-Encoding: base64\n", base64.b64encode(b"#list"))),
        ("message/cpim", cpim("Content-Transfer-Encoding: Quoted-Printable\n", b"=23list")),
        ("message/cpim", cpim("Content-Encoding: gzip\n", gzip.compress(b"#list", mtime=0))),
        ("message/cpim", cpim("Content-Encoding: deflate\n", zlib.compress(b"#list"))),
        ("message/cpim", cpim(f"Content-Type: {PARTS}\n", b"--b\r\n\r\n#list\r\n--b--")),
        (PARTS, b"--b\r\nContent-Type: text/plain\r\n\r\n#list\r\n--b--\r\n"),
        (PARTS, b"preamble\r\n--b\r\n\r\n#list\r\n--b--\r\n"),
        (PARTS, b"--b\nContent-Type: image/png\n\n#x\n--b\nContent-Type: text/html\n\n<i>#list</i>\n--b--"),
        ('multipart/alternative; boundary="b c"', b"--b c  \r\n\r\n#list\r\n--b c--"),
        (
            PARTS,
            b"--b\r\nContent-Type: multipart/x;boundary=c\r\n\r\n--c\r\n\r\n#list\r\n--c--\r\n--b--",
        ),
        (PARTS, b"--b\r\n\r\n \r\n--b\r\n\r\n#list\r\n--b--"),
        ("text/html", b"#list"),
        ("text/html", b'<html><head><title>#x</title></head><body><p class="a">\r\n &#35;list</p></body>'),
        ("text/html", b"<!-- #no --><style>p {}</style><div>#list<br>more</div>"),
        ("text/html", b"<STYLE>a</STYLE><font color='#fff'>&nbsp;#<b>list</b></font>"),
    ],
)
def test_text_is_found_in(content_type: str, body: bytes) -> None:
    """Its first line, whatever it is wrapped in."""
    text = text_of(content_type, body)
    assert (text or b"").decode().split("\n")[0].strip() in ({"#list"} if body else {""})


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/markdown", b"#list"),
        ("text/plain;charset=idna", b"#list"),
        ("text/html", b"<img src='#list'>"),
        ("message/imdn+xml", b"#list"),
        ("message/cpim", b"#list"),
        ("message/cpim", cpim("Content-Type: application/pkcs7-mime\n", b"#list")),
        ("message/cpim", cpim("Content-Transfer-Encoding: x-own\n", b"#list")),
        ("multipart/mixed", b"--b\r\n\r\n#list\r\n--b--"),
        (PARTS, b"--bb\r\n\r\n#list\r\n--bb--"),
        (PARTS, b"--b--\r\n\r\n#list"),
        ("multipart/mixed;boundary=é", b"--\xe9\r\n\r\n#list"),
    ],
)
def test_no_text_is_found_in(content_type: str, body: bytes) -> None:
    """Other types, and wrappings with nothing in them."""
    assert not text_of(content_type, body)


def test_nesting_and_parts_are_bounded() -> None:
    """A sender's body decides how much there is to do only up to a limit."""
    nested = b"#list"
    for _ in range(2000):
        nested = b"--b\r\nContent-Type: " + PARTS.encode() + b"\r\n\r\n" + nested
    assert text_of(PARTS, nested) is None
    assert text_of(PARTS, b"--b\nContent-Type: a/b\n\n\n" * 2000 + b"--b\n\n#list\n--b--") is None
    assert text_of("text/html", b"<" * 60_000) is None
    assert len(text_of("text/html", b"x<b>" * 60_000) or b"") < 2000


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_part_that_is_too_large_when_inflated_is_refused(encoding: str) -> None:
    """By its ratio, as a body is: no recipient has to inflate it either."""
    packed = (gzip if encoding == "gzip" else zlib).compress(bytes(60_000))
    for content_type, body in (
        ("message/cpim", cpim(f"Content-Encoding: {encoding}\n", packed)),
        (PARTS, b"--b\r\n\r\n#list\r\n" + packed_part("a/b", encoding, packed) + b"--b--"),
    ):
        with pytest.raises(TooLargeError):
            Content.parse(content_type, body)


def packed_part(content_type: str, encoding: str, packed: bytes) -> bytes:
    """One part of `PARTS`."""
    return (
        f"--b\r\nContent-Type: {content_type}\r\nContent-Encoding: {encoding}\r\n\r\n".encode()
        + packed
        + b"\r\n"
    )


def test_packed_parts_within_packed_parts_are_refused() -> None:
    """Equal parts take hardly any room: eight kilobytes can stand for hundreds of megabytes."""
    part = packed_part("a/b", "deflate", zlib.compress(bytes(4096)))
    for _ in range(3):
        part = packed_part(PARTS, "deflate", zlib.compress(part * 15 + b"--b--"))
    body = part * (8000 // len(part)) + b"--b--"
    before = time.process_time()
    with pytest.raises(TooLargeError):
        Content.parse(PARTS, body)
    assert time.process_time() - before < 1, "it was 2.7 s without a common limit"


@given(
    st.sampled_from(
        ["text/html", "message/cpim", PARTS, "text/plain;charset=utf-16", "text/plain;charset=gbk"]
    ),
    st.binary(max_size=200) | st.text("<>-b\r\n#&;!/: headstyl", max_size=60).map(str.encode),
)
def test_any_body_gives_utf8_or_nothing(content_type: str, body: bytes) -> None:
    """Whatever is in it, nothing raises."""
    text = text_of(content_type, body)
    assert text is None or text is body or text.decode() is not None


def test_every_known_charset_is_one_that_python_has() -> None:
    """And those in which a prefix is written have ASCII as it is."""
    for charset in ASCII_COMPATIBLE:
        assert "<a@b>: ".encode(charset) == b"<a@b>: ", charset
    for charset in NOT_ASCII_COMPATIBLE:
        assert "#list".encode(charset).decode(charset) == "#list"


@pytest.mark.parametrize(
    "name",
    ["idna", "punycode", "hex", "rot13", "base64", "zip", "unicode_escape", "undefined", "mbcs", "x-own"],
)
def test_no_other_codec_of_python_is_a_charset(name: str) -> None:
    """They fail on text, or change it."""
    assert charset_of(f"text/plain;charset={name}") == ""


def test_quoted_printable_of_python_is_read() -> None:
    """As mail programs write it."""
    body = cpim("Content-Transfer-Encoding: quoted-printable\n", quopri.encodestring("#nick Jürgen".encode()))
    assert text_of("message/cpim", body) == "#nick Jürgen".encode()
