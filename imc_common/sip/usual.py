"""The usual MESSAGE, read at a fifth of the cost: one look at its shape, which also cuts it up.

Nearly all requests come in one of few shapes. What `_MATCH` lets through has nothing in it that needs care:
no folding, compact name, odd spelling, list or quoted pair, each header but Via once. It has passed every
check of `parse_message` and `validate_request` by its shape, and gives the same values, to which a test holds
it. All else goes the thorough way.
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

LONGEST: Final = 2048
"""Bytes; longer ones are not usual, and might touch a limit of one part."""

# An address as we write it (`imc_common.address`), of a user or a room; ports above 64999 count as unusual.
# What has to follow is looked at within its group: Python 3.11 may keep a group whose branch failed later.
_NAME = r"(?>(?:[a-z0-9_][a-z0-9_\-]*+\.(?=[a-z0-9_]))*)[a-z_][a-z0-9_\-]*+"
_OCTET = r"(?>25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9][0-9]|[0-9])"
_PORT = r"(?>[1-5][0-9]{4}|6[0-4][0-9]{3}|[1-9][0-9]{0,3}+)"
_PLAIN = rf"{PLAIN_USER}@(?>{_NAME}|(?>(?:{_OCTET}\.){{3}}){_OCTET})(?>(?::{_PORT})?)"
_ADDRESS = rf"<(?>sip:({_PLAIN}(?=>))|[!#-;=?-~]++)>"
_QUOTED, _WORD = r"[A-Za-z0-9 ._\-]*+", r"[A-Za-z0-9]++"
# Each parameter once: the short way does not look for a second one.
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
    # those of proxies on the way follow the topmost; nobody reads them but who they are sent back to
    ")\r\n",
    r")\r\n((?>(?:Via: [!-+\--~](?:[ !-+\--~]*+(?<! ))\r\n)*))",
    1,
)
_MATCH = re.compile(rf"MESSAGE ((?>sip:({_PLAIN}(?= ))|[!-~]++)) SIP/2\.0\r\n(?>(?:{_LINES})+)\r\n").match


def usual_message(data: bytes, limits: Limits) -> Request | None:
    """The valid request that a datagram holds, if it is of the usual shape; None says nothing about it."""
    if len(data) > LONGEST:
        return None
    text = data.decode("latin-1")  # what matches has ASCII only, up to the body
    match = _MATCH(text)
    if match is None:
        return None
    (
        uri, plain_uri, via, port, further_vias,
        from_, sender, quoted_name, bare_name, plain_from, tag, to, plain_to,
        call_id, cseq, max_forwards, content_type, length, *further,
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
    if any(further):
        first.update((name, value) for name, value in zip(_FURTHER, further, strict=True) if value)
    end = match.end()
    body = data[end:]
    hops = further_vias.count("\r\n")
    if (
        text.count("\r\n", 0, end) != len(first) + hops + 2  # else one of them came twice
        or hops >= limits.vias
        or int(length) != len(body)
        or len(body) > limits.body
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
    request = object.__new__(Request)  # frozen: its own constructor would set each attribute for itself
    request.__dict__.update(
        method="MESSAGE",
        uri=uri,
        version="SIP/2.0",
        headers=_UsualHeaders(first, hops, text[:end]),
        body=body,
        further_vias=further_vias,
        plain_from=plain_from or "",
        plain_to=plain_to or "",
        from_name=quoted_name or bare_name or "",
        from_tag=tag,
        to_tag=None,
        max_forwards=int(max_forwards),
        expires=None,
    )
    return request


class _UsualHeaders(Headers):
    """Each header once, but for further Vias; all of them in order only when somebody asks."""

    __slots__ = ("_head",)

    def __init__(self, first: dict[str, str], further_vias: int, head: str) -> None:
        self.first = first
        self.repeated = ["Via"] * further_vias
        self._head = head

    @property
    def items(self) -> tuple[tuple[str, str], ...]:
        """Names and values as they came."""
        lines = self._head.split("\r\n")[1:-2]
        return tuple((name, value) for name, _, value in (line.partition(": ") for line in lines))


# Addresses that are not plain are looked at thoroughly; the same rooms and people come again and again.


@lru_cache(maxsize=4096)
def _target(uri: str) -> Uri | None:
    """A SIP URI that a request may be for."""
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
