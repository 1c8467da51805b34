"""The sender that a CPIM body names (RFC 3862): nobody speaks in another user's name.

Clients show From of the CPIM headers in place of the SIP one. The headers are read more liberally than the
RFC allows, because a recipient may do so too: what any of them could take for From is checked.
"""

from __future__ import annotations

import re
from typing import Final

from imc_common import address
from imc_common.rooms.body_text import essence
from imc_common.sip.errors import SipError
from imc_common.sip.uri import Uri
from imc_edge.identity.sender import canonical

TYPE: Final = "message/cpim"
ANONYMOUS: Final = "anonymous@anonymous.invalid"
"""RFC 3323 §4.1.1.3; handsets with RCS name nobody else inside."""
_MAX_HEADERS: Final = 8192
"""Bytes. Longer ones are refused: the rest could have another From."""

_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))", re.DOTALL)


def check_inner_sender(content_type: str, body: bytes, sender: str, *, ignores_case: bool = False) -> None:
    """Refuse a body that names another sender than ``sender``, a canonical address.

    ``ignores_case``: the address is in lower case.

    Raises SipError: 403, or 400 if the one it names cannot be read.
    """
    kind = essence(content_type)
    if kind == TYPE:
        values, content = _read(body)
        for value in values:
            if not _is_sender(value, sender, ignores_case):
                raise SipError(403, "CPIM From Is Not The Sender")
        if _has_cpim_part(content):
            raise SipError(403, "CPIM In CPIM")
    elif kind.startswith("multipart/") and _has_cpim_part(body):
        raise SipError(403, "CPIM In Multipart")


def _read(body: bytes) -> tuple[list[str], str]:
    """The values of all From headers, and what follows the headers."""
    text = body.decode(errors="surrogateescape").removeprefix("\ufeff")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").lstrip("\n").split("\n")
    values: list[str] = []
    size = 0
    is_wrapping = (
        True  # RFC 3862 §5.1: Content-Type of the object itself may come first, in a block of its own
    )
    for number, line in enumerate(lines):
        size += len(line)
        if size > _MAX_HEADERS:
            raise SipError(400, "CPIM Headers Too Long")
        if not line.strip():
            if is_wrapping:
                continue
            return values, "\n".join(lines[number:])
        if line[0] in " \t":
            raise SipError(400, "Folded CPIM Header")  # RFC 3862 §2.2: one line is one header
        name, _, value = line.partition(":")
        name = name.strip().lower()
        is_wrapping = is_wrapping and name.startswith("content-")
        if name.rpartition(".")[2] == "from":  # RFC 3862 §3.4: any prefix may stand for the namespace of CPIM
            values.append(value)
    return values, ""


def _is_sender(value: str, sender: str, ignores_case: bool) -> bool:
    """Whether a From names this user, at whatever port, or explicitly nobody."""
    # RFC 3862 §2.3.2: a backslash escapes a character, in the URI too
    text = _ESCAPE.sub(lambda match: chr(int(match[1], 16)) if match[1] else match[2], value).strip()
    # The name may have any characters. Two pairs of brackets could be read in two ways.
    inside = text.partition("<")[2] if "<" in text else text
    uri_text, closing, rest = inside.partition(">")
    if ("<" in text) != bool(closing) or set("<>") & set(uri_text + rest):
        raise SipError(400, "Malformed CPIM From")
    try:
        uri = Uri.parse(uri_text.strip())
        if uri.scheme in {"im", "pres"}:
            uri = Uri.parse(f"sip:{uri.opaque}")
    except ValueError:
        raise SipError(400, "Malformed CPIM From") from None
    if uri.scheme == "tel":
        number = uri.opaque.partition(";")[0]
        return number.startswith("+") and number == address.split(sender)[0]
    if not uri.is_sip or uri.user is None:
        return False
    named = canonical(uri.user, uri.host, None)
    if ignores_case:
        named = address.without_case(named)
    return named in {address.without_port(sender), ANONYMOUS}


def _has_cpim_part(content: bytes | str) -> bool:
    """Whether a part may be CPIM, however its Content-Type is folded: imc does not look for a From in it."""
    text = content.decode(errors="replace") if isinstance(content, bytes) else content
    return "content-type:message/cpim" in "".join(text.lower().split())
