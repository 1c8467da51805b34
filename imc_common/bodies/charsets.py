"""The charsets of text that are known here. The table is fixed: no sender names a codec of Python.

Python has codecs that are no charsets (``idna``, ``hex``, ``rot13``); they fail or change the text. So only
names in these tables reach a codec.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

DEFAULT: Final = "utf-8"

_OTHER_NAMES: Final = {
    "utf8": "utf-8",
    "ascii": "us-ascii",
    "ansi_x3.4-1968": "us-ascii",
    "latin1": "iso-8859-1",
    "latin-1": "iso-8859-1",
    "cp1252": "windows-1252",
    "ks_c_5601-1987": "euc-kr",
    "x-sjis": "shift_jis",
    "iso8859-1": "iso-8859-1",
}
ASCII_COMPATIBLE: Final = frozenset(
    {
        "utf-8",
        "us-ascii",
        *(f"iso-8859-{number}" for number in (*range(1, 12), *range(13, 17))),
        *(f"windows-{number}" for number in range(1250, 1259)),
        "koi8-r",
        "koi8-u",
        "macintosh",
        "tis-620",
        "gb2312",
        "gbk",
        "gb18030",
        "big5",
        "big5-hkscs",
        "euc-jp",
        "euc-kr",
        "shift_jis",
    }
)
"""Charsets in which ASCII text is the same bytes, so that a prefix can be put before the text."""
NOT_ASCII_COMPATIBLE: Final = frozenset(
    {
        "utf-16",
        "utf-16le",
        "utf-16be",
        "utf-32",
        "utf-32le",
        "utf-32be",
        "utf-7",
        "iso-2022-jp",
        "iso-2022-kr",
    }
)
"""Charsets that can be read, but in which ASCII text is other bytes or depends on a state."""


@lru_cache(maxsize=256)
def charset_of(content_type: str) -> str:
    """The charset that a Content-Type names, as in the tables here; `DEFAULT` if none, empty if unknown."""
    charset = parameter(content_type, "charset").lower()
    charset = _OTHER_NAMES.get(charset, charset) if charset else DEFAULT
    return charset if charset in ASCII_COMPATIBLE or charset in NOT_ASCII_COMPATIBLE else ""


def parameter(content_type: str, name: str) -> str:
    """A parameter of a Content-Type, without its quotes; empty if it is not there."""
    for part in content_type.split(";")[1:]:
        key, _, value = part.partition("=")
        if key.strip(" \t").lower() == name:
            return value.strip(' "\t')
    return ""


def to_utf8(text: bytes, charset: str) -> bytes | None:
    """Text of this charset in UTF-8; None if the charset is unknown. What it does not have is replaced."""
    if charset in {"utf-8", "us-ascii"}:
        return text
    if charset in ASCII_COMPATIBLE:
        return text if text.isascii() else text.decode(charset, "replace").encode()
    if charset in NOT_ASCII_COMPATIBLE:
        return text.decode(charset, "replace").encode("utf-8", "replace")
    return None
