"""Reads the notation of RFC 4475 §2, in which the message files are written.

``<allOneLine>`` joins the lines it encloses, ``<repeat count=N>`` repeats its content, ``<hex>`` encloses
octets in hexadecimal. Every other line ends with CRLF.
"""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent

_ONE_LINE = re.compile(r"<allOneLine>\n(.*?)\n</allOneLine>", re.DOTALL)
_REPEAT = re.compile(r"<repeat count=(\d+)>(.*?)</repeat>", re.DOTALL)
_HEX = re.compile(r"<hex>(.*?)</hex>", re.DOTALL)


def load(rfc: str, name: str) -> bytes:
    """One message file as the bytes that go on the wire."""
    return expand((HERE / rfc / f"{name}.txt").read_text(encoding="utf-8"))


def expand(text: str) -> bytes:
    """The bytes that a text in this notation describes."""
    text = _ONE_LINE.sub(lambda match: match[1].replace("\n", ""), text)
    text = _REPEAT.sub(lambda match: match[2] * int(match[1]), text)
    pieces = _HEX.split(text)
    plain = [piece.replace("\n", "\r\n").encode() for piece in pieces[::2]]
    octets = [bytes.fromhex(piece) for piece in pieces[1::2]]
    return b"".join(whole for pair in zip(plain, [*octets, b""], strict=True) for whole in pair)
