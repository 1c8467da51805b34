"""The sender that a CPIM body names (RFC 3862): nobody speaks in another user's name.

Clients show From of the CPIM headers in place of the SIP one.
"""

from __future__ import annotations

import re
from typing import Final

from imc_common import address
from imc_common.bodies.content import Content
from imc_common.sip.errors import SipError
from imc_common.sip.uri import Uri
from imc_edge.identity.sender import usable_address

ANONYMOUS: Final = "anonymous@anonymous.invalid"
"""RFC 3323 §4.1.1.3; handsets with RCS name nobody else inside."""
_END = re.compile(r"(?:;gr=urn:uuid:[0-9a-fA-F\-]+)?>").fullmatch


def check_inner_sender(content: Content, sender: str, *, ignores_case: bool = False) -> None:
    """Refuse a body that names another sender than ``sender``, a canonical address.

    ``content`` is what was found in the body. ``ignores_case``: the address is in lower case.

    Raises SipError: 403, or 400 if the one it names cannot be read.
    """
    envelope = content.envelope
    if envelope is not None:
        for value in envelope.senders:
            if not _is_plainly(value, sender) and not _is_sender(value, sender, ignores_case):
                raise SipError(403, "CPIM From Is Not The Sender")
        if content.nests_cpim:
            raise SipError(403, "CPIM In CPIM")
    elif content.nests_cpim:
        raise SipError(403, "CPIM In Multipart")


def _is_plainly(value: str, sender: str) -> bool:
    """Whether a From is just this address, perhaps with a device, as in most messages."""
    start = f"<sip:{sender}"
    return value.startswith(start) and _END(value, len(start)) is not None


def _is_sender(value: str, sender: str, ignores_case: bool) -> bool:
    """Whether a From names this user, at whatever port, or explicitly nobody."""
    text = value.strip()
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
    named = usable_address(uri.user, uri.host, None)
    if ignores_case:
        named = address.without_case(named)
    return named in {address.without_port(sender), ANONYMOUS}
