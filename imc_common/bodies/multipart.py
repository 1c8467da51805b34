"""Multipart bodies (RFC 2046 §5.1): into parts, and parts into a body.

The `email` package is not used for them: it takes time that grows with the square of a header's parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from imc_common.bodies.charsets import parameter
from imc_common.bodies.errors import BodyError
from imc_common.bodies.mime_part import MimePart

MAX_PARTS: Final = 256
"""Parts that are read; further ones are left out. Linphone packs many receipts into one body."""


def parts_of(content_type: str, body: bytes) -> list[MimePart]:
    """The parts, in order. One whose headers cannot be read is left out, and so is what surrounds them."""
    boundary = parameter(content_type, "boundary")
    if not boundary or not boundary.isascii():
        return []
    parts = []
    for piece in (b"\n" + body).split(b"\n--" + boundary.encode(), MAX_PARTS)[1:]:
        line, _, part = piece.partition(b"\n")
        if line.strip():  # the end of all parts, or another boundary that begins alike
            continue
        try:
            parts.append(MimePart.parse(part.removesuffix(b"\r")))
        except BodyError:
            continue
    return parts


def joined(parts: Sequence[MimePart], boundary: str) -> bytes:
    """A body of these parts. The boundary must occur in none of them."""
    line = f"--{boundary}".encode()
    return b"".join([b"%b\r\n%b\r\n" % (line, part.to_bytes()) for part in parts]) + line + b"--\r\n"
