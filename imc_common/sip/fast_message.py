"""The fast path of the parser: a MESSAGE of the common form, parsed by one regular expression.

It costs a fifth of `parse_message` and `validate_request`. Nearly all requests have one of few forms.
`_MATCH` accepts only messages without folded lines, compact names, unusual spellings, lists and quoted
pairs, with each header but Via once. Such a message passes every check of `parse_message` and
`validate_request`, and has the same values; a test compares both. All other messages are left to the full
parser.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from imc_common.address import PLAIN_USER
from imc_common.sip.grammar import TOKEN
from imc_common.sip.headers import Headers
from imc_common.sip.limits import Limits
from imc_common.sip.message import Request
from imc_common.sip.name_addr import NameAddr
from imc_common.sip.uri import Uri

MAX_SIZE: Final = 2048
"""Bytes. Longer messages are rare, and a part of them might exceed its limit."""

# A canonical address (`imc_common.address`) of a user or a room. Ports up to 64999, behind IP addresses.
# The lookahead is inside its group, because Python 3.11 may keep a group whose branch failed later.
_NAME = r"(?>(?:[a-z0-9_][a-z0-9_\-]*+\.(?=[a-z0-9_]))*)[a-z_][a-z0-9_\-]*+"
_OCTET = r"(?>25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9][0-9]|[0-9])"
_PORT = r"(?>[1-5][0-9]{4}|6[0-4][0-9]{3}|[1-9][0-9]{0,3}+)"
_PLAIN = rf"{PLAIN_USER}@(?>{_NAME}|(?>(?:{_OCTET}\.){{3}}){_OCTET}(?>(?::{_PORT})?))"
_ADDRESS = rf"<(?>sip:({_PLAIN}(?=>))|[!#-;=?-~]++)>"
_QUOTED, _WORD = r"[A-Za-z0-9 ._\-]*+", r"[A-Za-z0-9]++"
# Each parameter once: the fast path does not look for a repeated one.
_VIA_PARAMS = rf"(?>(?:;rport;branch={TOKEN}|;branch={TOKEN}(?>(?:;rport)?)))(?>(?:;alias)?)"
_FIELDS = {
    "Via": rf"SIP/2\.0/UDP [A-Za-z0-9_.\-]++(?>(?::([0-9]{{1,5}}+))?){_VIA_PARAMS}",
    "From": rf'((?>(?:"({_QUOTED})" ?+|({_WORD}) )?){_ADDRESS});tag=({TOKEN})',
    "To": rf'(?>(?:"{_QUOTED}" ?+|{_WORD} )?){_ADDRESS}',
    "Call-ID": r"[!-~]++",
    "CSeq": r"[0-9]{1,9}+ MESSAGE",
    "Max-Forwards": r"[0-9]{1,2}+",
    "Content-Type": r"[a-z]++/[a-z]++",
    "Content-Length": r"[0-9]{1,4}+",
}
_FURTHER = ("User-Agent", "Allow", "Supported", "Authorization", "P-Asserted-Identity")
_TEXT = r"[!-~](?:[ !-~]*+(?<! ))"
_LINES = "|".join(
    f"{name}: ({value})\r\n" for name, value in (_FIELDS | dict.fromkeys(_FURTHER, _TEXT)).items()
).replace(
    # Vias of proxies follow the topmost one; they are only copied into responses
    ")\r\n",
    r")\r\n((?>(?:Via: [!-+\--~](?:[ !-+\--~]*+(?<! ))\r\n)*))",
    1,
)
_MATCH = re.compile(rf"MESSAGE ((?>sip:({_PLAIN}(?= ))|[!-~]++)) SIP/2\.0\r\n(?>(?:{_LINES})+)\r\n").match


def parse_fast(data: bytes, limits: Limits) -> Request | None:
    """The valid request in a datagram, if it has the common form. None: use the full parser."""
    if len(data) > MAX_SIZE:
        return None
    text = data.decode("latin-1")  # a match has only ASCII up to the body
    match = _MATCH(text)
    if match is None:
        return None
    (
        uri, plain_uri, via, port, further_vias,
        from_, sender, quoted_name, bare_name, plain_from, tag, to, plain_to,
        call_id, cseq, max_forwards, content_type, length,
        user_agent, allow, supported, authorization, asserted,
    ) = match.groups()  # fmt: skip
    if not (via and from_ and to and call_id and cseq and max_forwards and content_type and length):
        return None
    first = {
        "Via": via,
        "From": from_,
        "To": to,
        "Call-ID": call_id,
        "CSeq": cseq,
        "Max-Forwards": max_forwards,
        "Content-Type": content_type,
        "Content-Length": length,
    }
    if user_agent:
        first["User-Agent"] = user_agent
    if allow:
        first["Allow"] = allow
    if supported:
        first["Supported"] = supported
    if authorization:
        first["Authorization"] = authorization
    if asserted:
        first["P-Asserted-Identity"] = asserted
    end = match.end()
    body = data[end:]
    size = len(body)
    hops = further_vias.count("\r\n") if further_vias else 0
    if (
        text.count("\r\n", 0, end) != len(first) + hops + 2  # otherwise a header is repeated
        or hops >= limits.vias
        or int(length) != size
        or size > limits.body
        or len(uri) > limits.uri
        or (port is not None and not 0 < int(port) <= 65_535)
    ):
        return None
    if (
        (not plain_uri and _target(uri) is None)
        or (not plain_from and _address(sender) is None)
        or (not plain_to and _address(to) is None)
    ):
        return None
    request = object.__new__(Request)  # frozen: its constructor would set each attribute separately
    request.__dict__.update(
        method="MESSAGE",
        uri=uri,
        version="SIP/2.0",
        headers=_FastHeaders(first, hops, text[:end]),
        body=body,
        size=len(data),
        further_vias=further_vias,
        plain_target=plain_uri or "",
        plain_from=plain_from or "",
        plain_to=plain_to or "",
        call_id=call_id,
        from_name=quoted_name or bare_name or "",
        from_tag=tag,
        to_tag=None,
        max_forwards=int(max_forwards),
        expires=None,
    )
    return request


class _FastHeaders(Headers):
    """Each header once, except Via. The ordered list is made when it is first needed."""

    __slots__ = ("_head",)

    def __init__(self, first: dict[str, str], further_vias: int, head: str) -> None:
        self.first = first
        self.repeated = ["Via"] * further_vias
        self._head = head

    @property
    def items(self) -> tuple[tuple[str, str], ...]:
        """Names and values in order, as received."""
        lines = self._head.split("\r\n")[1:-2]
        return tuple((name, value) for name, _, value in (line.partition(": ") for line in lines))


# Addresses that are not canonical need the full parser; the same rooms and users occur in most messages.


@lru_cache(maxsize=4096)
def _target(uri: str) -> Uri | None:
    """The Request-URI, if it is a SIP URI without headers."""
    try:
        target = Uri.parse(uri)
    except ValueError:
        return None
    return target if target.is_sip and not target.headers else None


@lru_cache(maxsize=8192)
def _address(text: str) -> NameAddr | None:
    try:
        return NameAddr.parse(text)
    except ValueError:
        return None
