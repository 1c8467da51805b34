r"""A message in the format of RFC 3862: ``message/cpim``.

Lines of headers, an empty line, and a MIME part::

    From: Alice <sip:alice@example.org>
    NS: imdn <urn:ietf:params:imdn>
    imdn.Message-ID: 34jk324j

    Content-Type: text/plain

    Hello

Read more liberally than the RFC allows, because a recipient may do so too: whatever any of them could take
for From is in `Envelope.senders`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, final

from imc_common.bodies.errors import BodyError
from imc_common.bodies.mime_part import MimePart

MAX_HEADERS: Final = 8192
"""Bytes. Longer ones are refused: the rest could have another From."""
MAX_USUAL: Final = 128
"""Bytes of a line that is kept to be recognised."""
CORE: Final = "urn:ietf:params:cpim-headers:"
"""RFC 3862 §3.4: the namespace of From, To, DateTime and the other headers of CPIM."""
IMDN_NAMESPACE: Final = "urn:ietf:params:imdn"
"""RFC 5438 §6: the namespace of Message-ID and Disposition-Notification."""
MAX_MESSAGE_ID: Final = 128
"""Characters of a Message-ID that is remembered."""

_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
# RFC 3862 §2.3.2: \uXXXX is a character, \b \t \n \r are control characters, any other is itself.
_ESCAPE: Final = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))", re.DOTALL)
_CONTROLS: Final = {"b": "\b", "t": "\t", "n": "\n", "r": "\r"}
_SPECIAL: Final = re.compile(r"[\\\x00-\x1f\x7f]")
_NAMESPACE: Final = re.compile(r"(?:([A-Za-z0-9!#$%&'*+^_`|~-]+)[ \t]+)?<([^<>]*)>").fullmatch
_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+^_`|~-]+").fullmatch
_TOKEN: Final = re.compile(r"[!-~]+").fullmatch


@final
@dataclass(init=False, slots=True)
class CpimHeader:
    """One header: ``imdn.Message-ID`` has the prefix ``imdn``. `params` is as written: ``lang=fr``.

    `value` is without escapes.
    """

    name: Final[str]
    value: Final[str]
    prefix: Final[str]
    params: Final[tuple[str, ...]]

    def __init__(self, name: str, value: str, prefix: str = "", params: tuple[str, ...] = ()) -> None:
        self.name = name
        self.value = value
        self.prefix = prefix
        self.params = params

    def __str__(self) -> str:
        name = f"{self.prefix}.{self.name}" if self.prefix else self.name
        params = "".join([f";{each}" for each in self.params])
        return f"{name}:{params} {_escaped(self.value)}"


@final
@dataclass(init=False, slots=True)
class Envelope:
    """What the headers of a CPIM message say of its author.

    `senders`: the values of all headers that could be taken for From, whatever their prefix and case. RFC
    3862 §3.4: any prefix may stand for the namespace of CPIM.

    `message_id`, RFC 5438 §6.3: the author's name for this message, which receipts repeat; empty if there is
    none that can be used. `wants_receipts`, RFC 5438 §6.2: whether the author asks for receipts.
    """

    senders: Final[tuple[str, ...]]
    message_id: Final[str]
    wants_receipts: Final[bool]

    def __init__(self, senders: tuple[str, ...], message_id: str, wants_receipts: bool) -> None:
        self.senders = senders
        self.message_id = message_id
        self.wants_receipts = wants_receipts


@final
@dataclass(init=False, slots=True)
class Cpim:
    """A CPIM message: its headers in order, and the MIME part in it."""

    headers: Final[tuple[CpimHeader, ...]]
    part: Final[MimePart]

    def __init__(self, headers: tuple[CpimHeader, ...], part: MimePart) -> None:
        self.headers = headers
        self.part = part

    @classmethod
    def parse(cls, body: bytes) -> Cpim:
        """Raises `BodyError`."""
        headers, end = _headers(body)
        content = body[end:]
        # The examples of RFC 5438 have the part's headers among those of CPIM, and then its content at once.
        mixed = [header for header in headers if _is_mime(header)]
        if not mixed:
            return cls(headers, MimePart.parse(content))
        headers = tuple([header for header in headers if not _is_mime(header)])
        if content[:8].lower() == b"content-":
            return cls(headers, MimePart.parse(content))
        return cls(headers, MimePart(tuple([(header.name, header.value) for header in mixed]), content))

    def to_bytes(self) -> bytes:
        """The message as RFC 3862 has it."""
        head = "".join([f"{header}\r\n" for header in self.headers])
        return head.encode("utf-8", "surrogateescape") + b"\r\n" + self.part.to_bytes()

    @property
    def envelope(self) -> Envelope:
        """What its headers say of its author."""
        message_id = self.get(IMDN_NAMESPACE, "message-id")
        return Envelope(
            tuple([header.value for header in self.headers if header.name.lower() == "from"]),
            message_id if len(message_id) <= MAX_MESSAGE_ID and _TOKEN(message_id) else "",
            bool(self.get(IMDN_NAMESPACE, "disposition-notification")),
        )

    def get(self, namespace: str, name: str) -> str:
        """The value of the first header of this name (in lower case) in a namespace; empty if there is none.

        A prefix that no NS header explains counts as that of its usual namespace, because some clients leave
        NS out.
        """
        for header in self.headers:
            if header.name.lower() == name and self._namespace(header.prefix) == namespace:
                return header.value
        return ""

    def _namespace(self, prefix: str) -> str:
        for header in self.headers:
            if not header.prefix and header.name == "NS":
                found = _NAMESPACE(header.value.strip())
                if found is not None and (found[1] or "") == prefix:
                    return found[2]
        return {"": CORE, "imdn": IMDN_NAMESPACE}.get(prefix, "")


def has_cpim_part(content: bytes) -> bool:
    """Whether a part may be CPIM, however its Content-Type is folded."""
    lower = content.lower()
    return b"cpim" in lower and b"content-type:message/cpim" in b"".join(lower.split())


def _headers(body: bytes) -> tuple[tuple[CpimHeader, ...], int]:
    """The headers, and where what follows them begins."""
    headers: list[CpimHeader] = []
    start = 3 if body.startswith(b"\xef\xbb\xbf") else 0
    for line_end in _LINE_END.finditer(body, start):
        if line_end.start() > MAX_HEADERS:
            break
        line = body[start : line_end.start()]
        start = line_end.end()
        if not line.strip():
            # RFC 3862 §5.1: Content-Type of the object itself may come first, in a block of its own.
            if all(_is_mime(header) for header in headers):
                headers.clear()
                continue
            return tuple(headers), start
        headers.append(_usual_header(line) if len(line) <= MAX_USUAL else _header(line))
    if len(body) > MAX_HEADERS:
        raise BodyError("CPIM Headers Too Long")
    raise BodyError("CPIM Headers Without End")


def _header(line: bytes) -> CpimHeader:
    # RFC 3862 §2.2: one line is one header.
    if line[:1] in {b" ", b"\t"}:
        raise BodyError("Folded CPIM Header")
    name, colon, rest = line.decode("utf-8", "surrogateescape").partition(":")
    prefix, _, name = name.strip().rpartition(".")
    if not colon or not _NAME(name):
        raise BodyError("Malformed CPIM Header")
    params, value = _split_params(rest)
    return CpimHeader(name, _unescaped(value).strip(), prefix, params)


_usual_header = lru_cache(maxsize=1024)(_header)
"""Most lines of a client are the same in each message."""


def _is_mime(header: CpimHeader) -> bool:
    return not header.prefix and header.name.lower().startswith("content-")


def _split_params(rest: str) -> tuple[tuple[str, ...], str]:
    """RFC 3862 §2.2: parameters stand between the colon and the space before the value."""
    if not rest.startswith(";"):
        return (), rest
    params, _, value = rest.partition(" ")
    return tuple(params[1:].split(";")), value


def _unescaped(value: str) -> str:
    if "\\" not in value:
        return value
    return _ESCAPE.sub(_character, value)


def _character(found: re.Match[str]) -> str:
    if not found[1]:
        return _CONTROLS.get(found[2], found[2])
    code = int(found[1], 16)
    return "\ufffd" if 0xD800 <= code < 0xE000 else chr(code)  # half of a pair is no character


def _escaped(value: str) -> str:
    return _SPECIAL.sub(lambda found: "\\\\" if found[0] == "\\" else f"\\u{ord(found[0]):04x}", value)
