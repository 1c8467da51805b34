"""Where a 3xx sends a request (RFC 3261 §8.1.3.4, §21.3)."""

from __future__ import annotations

import re

from imc_common.sip.message import Response
from imc_common.sip.name_addr import NameAddr
from imc_common.sip.tokens import split_commas

_QVALUE = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?").fullmatch


def contacts(response: Response) -> list[str]:
    """The SIP and SIPS URIs of its Contact headers as Request-URIs, best first, without malformed ones.

    Headers in a URI would become headers of our request (RFC 3261 §19.1.1). They are dropped, because a
    response must not decide those. So is ``method``, which a Request-URI must not have.
    """
    found = []
    for value in response.headers.get_all("Contact"):
        try:
            parsed = [NameAddr.parse(text) for text in split_commas(value)]
        except ValueError:
            continue
        for contact in parsed:
            quality = dict(contact.params).get("q") or "1"
            found.append((-float(quality) if _QVALUE(quality) else 0.0, contact.uri))
    found.sort(key=lambda pair: pair[0])
    return [
        str(uri._replace(headers=(), params=tuple(each for each in uri.params if each[0] != "method")))
        for _, uri in found
        if uri.is_sip
    ]
