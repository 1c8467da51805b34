"""The usual MESSAGE, read at a third of the cost: one look at its shape, then plain cutting.

Nearly all requests come in one of few shapes. What `_SHAPE` lets through has nothing in it that needs care:
no folding, compact name, odd spelling, list or quoted pair, each header once. It has passed every check of
`parse_message` and `validate_request` by its shape, and gives the same values, to which a test holds it. All
else goes the thorough way.
"""

from __future__ import annotations

import re
from functools import lru_cache

from imc_common.sip.cseq import CSeq
from imc_common.sip.grammar import TOKEN
from imc_common.sip.headers import Headers
from imc_common.sip.limits import Limits
from imc_common.sip.message import Request
from imc_common.sip.name_addr import NameAddr
from imc_common.sip.params import parse_params
from imc_common.sip.uri import Uri
from imc_common.sip.via import Via

LONGEST = 2048
"""Bytes; longer ones are not usual, and might touch a limit of one part."""

_ADDRESS = r'(?>(?:"[A-Za-z0-9 ._\-]*+" ?+|[A-Za-z0-9]++ )?)<[!#-;=?-~]++>'
_PARAMS = rf"(?>(?:;{TOKEN}(?>(?:=[A-Za-z0-9_.\-]++)?))+)"
_SHAPE = (
    r"MESSAGE [!-~]++ SIP/2\.0\r\n(?>(?:"
    + "|".join(
        (
            rf"Via: SIP/2\.0/UDP [A-Za-z0-9_.\-]++(?>(?::[0-9]{{1,5}}+)?){_PARAMS}\r\n",
            rf"From: {_ADDRESS};tag={TOKEN}\r\n",
            rf"To: {_ADDRESS}\r\n",
            r"Call-ID: [!-~]++\r\n",
            r"CSeq: [0-9]{1,9}+ MESSAGE\r\n",
            r"Max-Forwards: [0-9]{1,2}+\r\n",
            r"Content-Type: [a-z]++/[a-z]++\r\n",
            r"Content-Length: [0-9]{1,4}+\r\n",
            r"(?:User-Agent|Allow|Supported): [!-~](?:[ !-~]*+(?<! ))\r\n",
        )
    )
    + r")+)\r\n"
)
_MATCH = re.compile(_SHAPE.encode()).match
_name_addr = lru_cache(maxsize=2048)(NameAddr.parse)  # To: rooms, without tags
_cseq = lru_cache(maxsize=256)(CSeq.parse)
_NEEDED = frozenset(
    ("Via", "From", "To", "Call-ID", "CSeq", "Max-Forwards", "Content-Type", "Content-Length")
)


def usual_message(data: bytes, limits: Limits) -> Request | None:
    """The valid request that a datagram holds, if it is of the usual shape; None says nothing about it."""
    if len(data) > LONGEST:
        return None
    match = _MATCH(data)
    if match is None:
        return None
    end = match.end()
    start, *lines = data[: end - 4].decode().split("\r\n")
    items = [(name, value) for name, _, value in [line.partition(": ") for line in lines]]
    first = dict(items)
    body = data[end:]
    if (
        len(first) != len(items)
        or not first.keys() >= _NEEDED
        or int(first["Content-Length"]) != len(body)
        or len(body) > limits.body
    ):
        return None
    uri = start[8:-8]
    if len(uri) > limits.uri:
        return None
    try:
        return _request(uri, Headers.from_parser(items, first, []), body)
    except ValueError:
        return None


def _request(uri: str, headers: Headers, body: bytes) -> Request | None:
    """The request with its values, as `Message`'s accessors would work them out. Raises ValueError."""
    first = headers.first
    target = Uri.parse(uri)
    place, _, params = first["Via"].partition(";")
    host, colon, port = place[12:].partition(":")
    address, _, tag = first["From"].rpartition(">;tag=")
    name, _, sender = address.rpartition("<")
    name = name.rstrip().strip('"')
    number = int(port) if colon else None
    if not target.is_sip or target.headers or number == 0 or (number or 0) > 65_535:
        return None
    request = object.__new__(Request)  # frozen: its own constructor would set each attribute for itself
    request.__dict__.update(
        method="MESSAGE",
        uri=uri,
        version="SIP/2.0",
        headers=headers,
        body=body,
        target=target,
        via=Via("UDP", host, number, parse_params(f";{params}")),
        from_=NameAddr(Uri.parse(sender), name, (("tag", tag),)),
        to=_name_addr(first["To"]),
        call_id=first["Call-ID"],
        cseq=_cseq(first["CSeq"]),
        max_forwards=int(first["Max-Forwards"]),
        expires=None,
    )
    return request
