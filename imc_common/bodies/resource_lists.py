"""A list of URIs (RFC 4826): ``application/resource-lists+xml``.

An INVITE to the conference factory has one of invitees (RFC 5366), a SUBSCRIBE one of rooms (RFC 5367).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from imc_common.bodies.encoding import TooLargeError
from imc_common.bodies.errors import BodyError
from imc_common.bodies.xml import Element, TooManyElementsError, elements_of, quoted
from imc_common.sip.params import find
from imc_common.sip.uri import Uri

MAX_ENTRIES: Final = 1000
"""Entries of a list, at most. A longer list is refused: it could only be followed in part."""

MAX_SIZE: Final = 192 * MAX_ENTRIES
"""Bytes of a list without its Content-Encoding, at most. Linphone has some 85 for each entry of a list."""

_NAMESPACE: Final = "urn:ietf:params:xml:ns:resource-lists"
_COPY_CONTROL: Final = "urn:ietf:params:xml:ns:copycontrol"
_ELEMENTS_PER_ENTRY: Final = 4


class HiddenUsersError(BodyError):
    """The list wants users of whom others must not know (RFC 5364 §5)."""


def listed_uris(document: bytes) -> list[Uri]:
    """The URIs of all entries in order, each once; lists in lists count, too. Raises `BodyError`.

    `TooLargeError` means more than `MAX_ENTRIES`, `HiddenUsersError` that all entries would be shown to all.
    """
    try:
        elements = elements_of(document, MAX_ENTRIES * _ELEMENTS_PER_ENTRY)
    except TooManyElementsError:
        raise TooLargeError("Resource List Too Long") from None
    root = elements[-1]  # the root ends last
    if (root.namespace, root.name) != (_NAMESPACE, "resource-lists"):
        raise BodyError("Not A Resource List")
    ours = [each for each in elements if each.namespace == _NAMESPACE]
    # RFC 4826 §3.1: these stand for entries of another document, and no other document is fetched.
    if any(each.name in {"entry-ref", "external"} for each in ours):
        raise BodyError("Resource List With Reference")
    if any(_is_hidden(each) for each in ours):
        raise HiddenUsersError("Hidden Users Not Supported")
    entries = [each.attributes.get("uri", "") for each in ours if each.name == "entry"]
    if len(entries) > MAX_ENTRIES:
        raise TooLargeError("Resource List Too Long")
    try:
        return [Uri.parse(each) for each in dict.fromkeys(map(str.strip, entries))]
    except ValueError:
        raise BodyError("Malformed URI In Resource List") from None


def _is_hidden(entry: Element) -> bool:
    given = entry.attributes
    is_anonymous = given.get(f"{_COPY_CONTROL} anonymize", "").strip() in {"true", "1"}
    return is_anonymous or given.get(f"{_COPY_CONTROL} copyControl", "").strip().lower() == "bcc"


def last_notify(uri: Uri) -> int:
    """The version of the last NOTIFY that a client has of a room in its list; 0 if it has none.

    Linphone adds it to the room's URI: ``sip:room@example.org;Last-Notify=3``.
    """
    number = find(uri.params, "last-notify") or ""
    return int(number) if number.isascii() and number.isdigit() and len(number) < 10 else 0


def resource_list(uris: Iterable[str]) -> bytes:
    """A document with one list of these URIs."""
    entries = "".join([f'<entry uri="{quoted(uri)}"/>' for uri in uris])
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><resource-lists xmlns="{_NAMESPACE}"><list>{entries}</list>'
        "</resource-lists>"
    ).encode()
