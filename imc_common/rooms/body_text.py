"""The text in a body: what its sender typed, out of the types in which clients send it.

Commands are read in it. The body itself is relayed as it came. All work is bounded: nesting, parts, and one
pass over each part.
"""

from __future__ import annotations

import binascii
import re
from functools import lru_cache
from html import unescape
from typing import Final

from imc_common.rooms.charsets import charset_of, parameter, to_utf8

PLAIN: Final = "text/plain"
_HTML: Final = "text/html"
_CPIM: Final = "message/cpim"
READ_TYPES: Final = "text/plain, text/html, message/cpim and multipart"
"""The types in which commands are read, in words."""
_MAX_DEPTH: Final = 4
_MAX_PARTS: Final = 16
_MAX_HTML: Final = 1024
"""Characters of an HTML body's text that are looked at: a command with its arguments is shorter."""

_EMPTY_LINE: Final = re.compile(rb"\n\r?\n")
_LINE_END: Final = re.compile(r"\r?\n(?![ \t])")
_SPACES: Final = re.compile(r"[ \t\r\n\f]+")
_TAG_NAME: Final = re.compile(r"</?([A-Za-z][A-Za-z0-9]*)")
_SKIPPED: Final = {
    name: re.compile(f"</{name}", re.IGNORECASE) for name in ("head", "title", "style", "script")
}
"""Elements whose content is not shown, with their ends."""
_BREAKS: Final = frozenset(("br", "p", "div", "li", "tr", "ul", "ol", "table", "h1", "h2", "h3"))


def text_of(content_type: str, body: bytes) -> bytes | None:
    """The text of a body in UTF-8, `body` itself if nothing had to be done; None: it has none we can read.

    Text is read in text/plain, text/html, message/cpim (RFC 3862), and in the first readable part of
    multipart/mixed, multipart/alternative and the like (RFC 2046 §5.1), also within each other.
    """
    return _text(content_type, body, 0)


@lru_cache(maxsize=256)
def essence(content_type: str) -> str:
    """``type/subtype`` in lower case, without blanks."""
    return content_type.partition(";")[0].replace(" ", "").replace("\t", "").lower()


def _text(content_type: str, body: bytes, depth: int) -> bytes | None:
    kind = essence(content_type)
    if kind == PLAIN:
        return to_utf8(body, charset_of(content_type))
    if kind == _HTML:
        html = to_utf8(body, charset_of(content_type))
        return None if html is None else _shown(html.decode("utf-8", "replace"))
    if depth == _MAX_DEPTH:
        return None
    if kind == _CPIM:
        # RFC 3862 §2: headers of the message, an empty line, then a MIME part
        content = _split(body)[1]
        return None if content is None else _part(content, depth + 1)
    if kind.startswith("multipart/"):
        return _first_text(body, parameter(content_type, "boundary"), depth + 1)
    return None


def _first_text(body: bytes, boundary: str, depth: int) -> bytes | None:
    """The text of the first part that has one (RFC 2046 §5.1.1)."""
    if not boundary or not boundary.isascii():
        return None
    for piece in (b"\n" + body).split(b"\n--" + boundary.encode(), _MAX_PARTS)[1:]:
        line, _, part = piece.partition(b"\n")
        if line.strip():  # the end of all parts, or another boundary that begins alike
            continue
        text = _part(part.removesuffix(b"\r"), depth)
        if text is not None and text.strip():
            return text
    return None


def _part(part: bytes, depth: int) -> bytes | None:
    """The text of a MIME part: headers, an empty line, content (RFC 2045)."""
    head, content = _split(part)
    if content is None:
        return None
    fields: dict[str, str] = {}
    for line in _LINE_END.split(head.decode("utf-8", "replace")):
        name, _, value = line.partition(":")
        fields.setdefault(name.strip().lower(), " ".join(value.split()))
    encoding = fields.get("content-transfer-encoding", "").lower()
    try:
        if encoding == "base64":
            content = binascii.a2b_base64(content)
        elif encoding == "quoted-printable":
            content = binascii.a2b_qp(content)
        elif encoding not in {"", "7bit", "8bit", "binary"}:
            return None
    except binascii.Error:
        return None
    return _text(fields.get("content-type") or PLAIN, content, depth)


def _split(data: bytes) -> tuple[bytes, bytes | None]:
    """Header lines and what follows the empty line after them, None if there is none. LF also ends a line."""
    if data[:2] == b"\r\n":
        return b"", data[2:]
    if data[:1] == b"\n":
        return b"", data[1:]
    found = _EMPTY_LINE.search(data)
    if found is None:
        return data, None
    return data[: found.start()], data[found.end() :]


def _shown(html: str) -> bytes | None:
    """The beginning of the text that a reader of HTML sees; None if there is none."""
    pieces: list[str] = []
    position = size = 0
    while size < _MAX_HTML:
        start = html.find("<", position)
        piece = _SPACES.sub(" ", html[position : start if start >= 0 else position + _MAX_HTML])
        pieces.append(piece)
        size += len(piece)
        if start < 0:
            break
        is_comment = html.startswith("<!--", start)
        end = html.find("-->" if is_comment else ">", start)
        if end < 0:
            break
        position = end + (3 if is_comment else 1)
        name = _TAG_NAME.match(html, start)
        if name is None:
            continue
        element = name[1].lower()
        if element in _SKIPPED and html[start + 1] != "/":
            closing = _SKIPPED[element].search(html, position)
            if closing is None:
                break
            position = closing.start()
        elif element in _BREAKS:
            pieces.append("\n")
    text = unescape("".join(pieces)).replace("\xa0", " ").strip()
    return text.encode("utf-8", "replace") if text else None
