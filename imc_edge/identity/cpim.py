"""The sender that a CPIM body names (RFC 3862): nobody speaks in another user's name, or in nobody's.

Clients show From of the CPIM headers in place of the SIP one, which is the room in deliveries to devices.
"""

from __future__ import annotations

import re
from typing import Final

from imc_common import address
from imc_common.bodies.content import Content
from imc_common.bodies.cpim import Cpim, CpimHeader
from imc_common.rooms.names import shown_name
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
    envelope = content.envelope or content.clear_envelope
    if envelope is not None:
        for value in envelope.senders:
            if not _is_plainly(value, sender) and not _is_sender(value, sender, ignores_case):
                raise SipError(403, "CPIM From Is Not The Sender")
        if content.nests_cpim:
            raise SipError(403, "CPIM In CPIM")
        if content.clear_envelope is not None and any(map(_is_nobody, envelope.senders)):
            raise SipError(403, "Anonymous Encrypted Message")  # `with_author` cannot name the author in it
    elif content.nests_cpim:
        raise SipError(403, "CPIM In Multipart")


def with_author(body: bytes, content: Content, author: str, display_name: str) -> bytes:
    """The body, which `check_inner_sender` has accepted, with a From that names the ``author``.

    As it came if it has one. RFC 3862 §4.1 requires From; members see who has written in plain text, too, so
    nobody is anonymous among them.
    """
    envelope = content.envelope
    if envelope is None or (envelope.senders and not any(map(_is_nobody, envelope.senders))):
        return body
    cpim = Cpim.parse(body)
    name = shown_name(display_name)
    from_ = CpimHeader("From", f"{name} <sip:{author}>" if name else f"<sip:{author}>")
    others = [header for header in cpim.headers if header.name.lower() != "from"]
    return Cpim((from_, *others), cpim.part).to_bytes()


def _is_nobody(value: str) -> bool:
    return f"@{address.domain(ANONYMOUS)}" in value.lower()


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
