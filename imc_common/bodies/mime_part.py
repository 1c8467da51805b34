"""A MIME part: headers, an empty line, content (RFC 2045)."""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from typing import Final, final

from imc_common.bodies.encoding import inflate
from imc_common.bodies.errors import BodyError
from imc_common.bodies.essence import PLAIN

MAX_HEADERS: Final = 4096
"""Bytes of a part's headers, at most."""
MAX_CONTENT: Final = 65_535
"""Bytes of a content without its Content-Encoding, at most: no body is longer (`max_body`)."""

_EMPTY_LINE: Final = re.compile(rb"\r\n\r\n|\n\r?\n|\r\r")
_LINE_END: Final = re.compile(r"(?:\r\n|(?<!\r)\n|\r(?!\n))(?![ \t])")


@final
@dataclass(init=False, slots=True)
class MimePart:
    """One part. `fields` are names and values in order; a folded value is unfolded."""

    fields: Final[tuple[tuple[str, str], ...]]
    content: Final[bytes]

    def __init__(self, fields: tuple[tuple[str, str], ...], content: bytes) -> None:
        self.fields = fields
        self.content = content

    @classmethod
    def parse(cls, data: bytes) -> MimePart:
        """Raises `BodyError` if the headers have no end, or are too long."""
        if data[:2] == b"\r\n":
            return cls((), data[2:])
        if data[:1] in {b"\n", b"\r"}:
            return cls((), data[1:])
        end = _EMPTY_LINE.search(data, 0, MAX_HEADERS)
        if end is None:
            raise BodyError("MIME Headers Without End")
        fields = []
        for line in _LINE_END.split(data[: end.start()].decode("utf-8", "surrogateescape")):
            name, colon, value = line.partition(":")
            if colon:  # a line that is no header says nothing
                fields.append((name.strip(), " ".join(value.split())))
        return cls(tuple(fields), data[end.end() :])

    def to_bytes(self) -> bytes:
        """The part as bytes, lines with CRLF."""
        head = "".join([f"{name}: {value}\r\n" for name, value in self.fields])
        return head.encode("utf-8", "surrogateescape") + b"\r\n" + self.content

    def get(self, name: str) -> str:
        """The value of the first field of this name, which is in lower case; empty if there is none."""
        for key, value in self.fields:
            if key.lower() == name:
                return value
        return ""

    @property
    def content_type(self) -> str:
        """The value of Content-Type; RFC 2045 §5.2 says what a part without one is."""
        return self.get("content-type") or PLAIN

    def decoded(self, max_size: int = MAX_CONTENT) -> bytes:
        """The content without Content-Transfer-Encoding and Content-Encoding, inflated to at most `max_size`.

        Raises `BodyError` if one of them is unknown, or the content does not follow it.
        """
        content, encoding = self.content, self.get("content-transfer-encoding").lower()
        try:
            if encoding == "base64":
                content = binascii.a2b_base64(content)
            elif encoding == "quoted-printable":
                content = binascii.a2b_qp(content)
            elif encoding not in {"", "7bit", "8bit", "binary"}:
                raise BodyError("Unknown Content-Transfer-Encoding")
        except binascii.Error:
            raise BodyError("Malformed Content-Transfer-Encoding") from None
        packed = self.get("content-encoding")
        return inflate(content, [each.strip() for each in packed.split(",")], max_size) if packed else content
