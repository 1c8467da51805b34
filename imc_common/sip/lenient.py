"""Reads requests whose faults are harmless: the grammar forbids them, but their meaning is clear.

Only what failed the strict check (`imc_common.sip.validate`) comes here, so a well-formed request costs
nothing. What could mean two things stays a fault: two addresses, repeated parameters, open quotes, blanks in
a URI, bad escapes. From and To are kept as received, because responses repeat them; the values behind them
are set. All patterns take linear time.
"""

from __future__ import annotations

import re
from urllib.parse import quote as escaped

from imc_common.sip.errors import SipError
from imc_common.sip.grammar import QUOTED, TOKEN, quote, token, unquote
from imc_common.sip.headers import Headers
from imc_common.sip.media_type import MediaType
from imc_common.sip.message import Request
from imc_common.sip.name_addr import NameAddr
from imc_common.sip.params import Params, parse_params
from imc_common.sip.tokens import split_commas
from imc_common.sip.uri import Uri

TOLERATED = ("contact", "content_type", "display_name", "user_part", "parameter")
"""What `tolerate` may find."""

_NAMED = re.compile(rf"(?:({QUOTED})|([^<>\"]*+))[ \t]*+<([^<>\"]++)>([^<>]*+)").fullmatch
_BARE = re.compile(r"([^;,?<>\" \t]++)([ \t]*+(?>(?:;[^<>]*+)?))").fullmatch
_USER = re.compile(r"([sS][iI][pP][sS]?+:)([^@<>\" \t:]++)(@[^@]++)").fullmatch
_VALUE = re.compile(r"[!-~]++").fullmatch
_TYPE_PARAM = re.compile(rf"({TOKEN})[ \t]*+=[ \t]*+([^;=\" \t]++)").fullmatch
_ESCAPES = re.compile(r"%(?![0-9A-Fa-f]{2})").search
_SAFE = "-_.!~*'()&=+$,;?/%"


def tolerate(request: Request) -> list[str]:
    """Set the values of a request's malformed parts whose meaning is clear, and say which these are."""
    found: list[str] = []
    values = request.__dict__
    for attribute, name in (("from_", "From"), ("to", "To")):
        value = request.headers.first.get(name)
        if value is not None and _fails(request, attribute):
            address = clear_address(value, found)
            if address is not None:
                values[attribute] = address
    if _fails(request, "target"):
        target = _uri(request.uri, found)
        if target is not None:
            values["target"] = target
    items = _contacts(_content_type(request, found), found)
    if items is not None:
        values["headers"] = Headers(items)
        values.pop("content_type", None)  # read from the old ones
    return found


def _fails(request: Request, attribute: str) -> bool:
    try:
        getattr(request, attribute)
    except SipError:
        return True
    return False


def clear_address(text: str, found: list[str]) -> NameAddr | None:
    """An address whose display name lacks quotes, whose user part lacks escapes, or whose parameters are no
    tokens; None if it is not clear. What was tolerated is added to ``found``."""
    match = _NAMED(text)
    if match is not None:
        quoted, words, inner, params = match[1], match[2] or "", match[3], match[4]
        name = unquote(quoted) if quoted else " ".join(words.split())
        if not quoted and "," in name and ("@" in name or "sip" in name.lower()):
            return None  # two addresses, perhaps
        if not quoted and not all(map(token, name.split())):
            found.append("display_name")
    else:
        match = _BARE(text)
        if match is None:
            return None
        name, inner, params = "", match[1], match[2]
    uri, known = _uri(inner, found), _params(params, found)
    return None if uri is None or known is None else NameAddr(uri, name, known)


def _uri(text: str, found: list[str]) -> Uri | None:
    """A SIP URI whose user part has printable characters that should be escaped."""
    try:
        return Uri.parse(text)
    except ValueError:
        match = _USER(text)
    if match is None or not match[2].isprintable() or _ESCAPES(match[2]):
        return None
    try:
        uri = Uri.parse(match[1] + escaped(match[2], safe=_SAFE, errors="strict") + match[3])
    except ValueError:
        return None
    found.append("user_part")
    return uri


def _params(text: str, found: list[str]) -> Params | None:
    """Parameters of a header whose values may have any printable ASCII characters but ``;`` and quotes."""
    try:
        return parse_params(text)
    except ValueError:
        parts = text.strip(" \t").split(";")
    if parts[0].strip(" \t"):
        return None
    known: dict[str, str | None] = {}
    for part in parts[1:]:
        name, equals, value = (piece.strip(" \t") for piece in part.partition("="))
        name = name.lower()
        if not token(name) or name in known or '"' in value or "," in value:
            return None
        if equals and not _VALUE(value):
            return None
        known[name] = value if equals else None
    found.append("parameter")
    return tuple(known.items())


def _content_type(request: Request, found: list[str]) -> list[tuple[str, str]]:
    """The header fields with a well-formed Content-Type: text/plain where a body has none (RFC 3428 §9)."""
    items = list(request.headers.items)
    raw = request.headers.get("Content-Type")
    if raw is None:
        if request.body:
            found.append("content_type")
            items.append(("Content-Type", "text/plain"))
        return items
    if not _fails(request, "content_type"):
        return items
    kind, *parts = raw.rstrip("; \t").split(";")
    for part in parts:
        match = _TYPE_PARAM(part.strip(" \t"))
        if match is None:
            return items
        kind += f";{match[1]}={match[2] if token(match[2]) else quote(match[2])}"
    try:
        MediaType.parse(kind)
    except ValueError:
        return items
    found.append("content_type")
    return [(name, kind if name == "Content-Type" else value) for name, value in items]


def _contacts(items: list[tuple[str, str]], found: list[str]) -> list[tuple[str, str]] | None:
    """The header fields without malformed Contacts, which a MESSAGE does not use; None: nothing changed."""
    kept = [(name, value) for name, value in items if name != "Contact" or _is_contact(value)]
    if len(kept) < len(items):
        found.append("contact")
    return kept if found else None


def _is_contact(line: str) -> bool:
    try:
        return line == "*" or all(NameAddr.parse(value) for value in split_commas(line))
    except ValueError:
        return False
