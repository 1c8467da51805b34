"""The head of a message: start line and header fields (RFC 3261 §7)."""

from __future__ import annotations

import re

from imc_common.sip.grammar import TOKEN
from imc_common.sip.header_names import SPELLINGS, key, long_name
from imc_common.sip.headers import Headers
from imc_common.sip.limits import Limits
from imc_common.sip.number import decimal
from imc_common.sip.start_line import RequestLine, StatusLine, parse_start_line

_TOKEN = re.compile(TOKEN).fullmatch
_CONTROLS = bytes(sorted({*range(32), 127} - {0x09}))
# Other programs take these for line ends, which could be used to smuggle headers past imc.
_LINE_BREAKERS = re.compile("[\x80-\x9f\u2028\u2029]").search
_BLANKED = dict.fromkeys((*range(32), *range(127, 160), 0x2028, 0x2029, *range(0xDC80, 0xDD00)), " ")
_BLANKS = (" ", "\t")

MANDATORY = ("From", "To", "Call-ID", "CSeq")
"""Headers that a response copies from its request, besides Via (RFC 3261 §8.2.6.2)."""
_COPIED_LINES = re.compile(
    rb"\r\n((?:Via|From|To|Call-ID|CSeq|[vfti])[ \t]*+:[^\r\n]*+(?>(?:\r\n[ \t][^\r\n]*+)*))", re.IGNORECASE
).findall

Fault = tuple[int, str]


class Head:
    """Start line and header fields, with the first fault found in them.

    Parsing continues after a fault, because the response needs Via, From, To, Call-ID and CSeq.
    """

    __slots__ = ("content_length", "fatal", "fault", "headers", "is_cut", "start")

    def __init__(self, start: RequestLine | StatusLine | None, headers: Headers, fault: Fault | None) -> None:
        self.start = start
        self.headers = headers
        self.fault = fault
        self.fatal = False
        self.is_cut = False
        """Whether it was too long and only a part was read."""
        self.content_length: int | None = None

    def read_content_length(self) -> None:
        """Read it if it is one value of digits. Any other makes the end of the message unknown (RFC 3261
        §18.3)."""
        value = self.headers.first.get("Content-Length")
        if value is None:
            return
        number = decimal(value, 9_999_999_999)
        if number is None or "Content-Length" in self.headers.repeated:
            self.fail(400, "Malformed Content-Length header", fatal=True)
        else:
            self.content_length = number

    def fail(self, status: int, reason: str, *, fatal: bool = False) -> None:
        """Record a fault, unless there is one already."""
        if self.fault is None:
            self.fault = (status, reason)
        self.fatal = self.fatal or fatal


def parse_head(data: bytes, limits: Limits) -> Head:
    """Parse start line and header fields. ``data`` ends before the empty line; it may be cut off.

    Of more than `Limits.head` bytes only the first are parsed, and the headers that the response needs,
    wherever they are.
    """
    fault: Fault | None = None
    is_cut = len(data) > limits.head
    if is_cut:
        fault = (513, "Header Block Too Large")
        data = _shortened(data, limits.head)
    lines, text_fault = _decode(data)
    start = parse_start_line(lines[0])
    if isinstance(start, RequestLine):
        fault = _check_request_line(start, limits) or fault
    fault = fault or text_fault
    del lines[0]
    headers, line_fault = _read_fields(lines)
    if len(data) > limits.header and _longest(headers) > limits.header:
        fault = fault or (513, "Header Field Too Large")
    if len(headers) > limits.headers:
        fault = fault or (513, "Too Many Header Fields")
    head = Head(start, headers, fault or line_fault)
    head.is_cut = is_cut
    head.read_content_length()
    return head


def _shortened(data: bytes, size: int) -> bytes:
    """Whole header fields of the first ``size`` bytes, and of the rest what a response copies.

    At most as much again: the response would be too long, and a missing header prevents it.
    """
    end = data.rfind(b"\r\n", 0, size)
    while end > 0 and data[end + 2 : end + 3] in (b" ", b"\t"):  # not within a folded field
        end = data.rfind(b"\r\n", 0, end)
    if end < 0:
        return b""
    kept, left = [data[:end]], size
    for line in _COPIED_LINES(data, end):
        left -= len(line)
        if left < 0:
            break
        kept.append(line)
    return b"\r\n".join(kept)


def _check_request_line(start: RequestLine, limits: Limits) -> Fault | None:
    if not start.well_formed:
        return (400, "Malformed Request-Line")
    if len(start.uri) > limits.uri:
        return (414, "Request-URI Too Long")
    if len(start.method) > limits.method:
        return (400, "Method Name Too Long")
    return None


def _longest(headers: Headers) -> int:
    return max((len(name) + len(value) + 2 for name, value in headers), default=0)


def _decode(data: bytes) -> tuple[list[str], Fault | None]:
    """The lines. If there is a fault, blanks replace control characters and invalid UTF-8."""
    fault: Fault | None = None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode(errors="surrogateescape")
        fault = (400, "Invalid UTF-8 in Header")
    lines = text.split("\r\n")
    controls = len(data) - len(data.translate(None, _CONTROLS)) - 2 * (len(lines) - 1)
    if (controls and _has_raw_control(lines)) or (not text.isascii() and _LINE_BREAKERS(text)):
        fault = (400, "Control Character in Header")
    if fault is not None:
        lines = [line.translate(_BLANKED) for line in lines]
    return lines, fault


def _has_raw_control(lines: list[str]) -> bool:
    """Whether there is a control character that is not escaped in a quoted string.

    ``quoted-pair`` allows all but CR and LF there (RFC 4475 §3.1.1.2 has BEL, NUL and DEL). A quoted
    string may continue in a folded line.
    """
    quoted = escaped = False
    for line in lines:
        if line[:1] not in _BLANKS:
            quoted = escaped = False
        for character in line:
            if escaped and character not in "\r\n":
                escaped = False
            elif character == '"':
                quoted = not quoted
            elif character == "\\" and quoted:
                escaped = True
            elif (character < " " and character != "\t") or character == "\x7f":
                return True
    return False


def _unfold(lines: list[str]) -> list[str]:
    """Join continuation lines to the line before, with one blank (RFC 3261 §7.3.1)."""
    whole: list[list[str]] = []
    for line in lines:
        if line[:1] in _BLANKS and whole:
            whole[-1].append(line.strip(" \t"))
        else:
            whole.append([line])
    return [pieces[0] if len(pieces) == 1 else " ".join(pieces) for pieces in whole]


def _read_fields(lines: list[str]) -> tuple[Headers, Fault | None]:
    fault: Fault | None = None
    items: list[tuple[str, str]] = []
    first: dict[str, str] = {}
    repeated: list[str] = []
    for line in lines:
        raw, colon, value = line.partition(":")
        name = SPELLINGS.get(raw, "")
        folded = name
        if not name:
            if items and line[:1] in _BLANKS:
                return _read_fields(_unfold(lines))
            raw = raw.rstrip(" \t")
            if _TOKEN(raw) is None:
                fault = fault or (400, "Malformed Header Field")
                continue
            name, folded = long_name(raw), key(raw)
        if not colon:
            fault = fault or (400, "Malformed Header Field")
            continue
        value = value.strip(" \t")
        items.append((name, value))
        if folded in first:
            repeated.append(folded)
        else:
            first[folded] = value
    return Headers.from_parser(items, first, repeated), fault
