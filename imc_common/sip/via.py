"""Via (RFC 3261 §18.2 and §20.42, RFC 3581)."""

from __future__ import annotations

import re
from typing import NamedTuple

from imc_common.sip.grammar import TOKEN, WS
from imc_common.sip.host import HOST, check_host
from imc_common.sip.params import Params, find, has, parse_params, print_params

_VIA = re.compile(
    rf"[sS][iI][pP]{WS}/{WS}2\.0{WS}/{WS}({TOKEN})[ \t]++"
    rf"({HOST})(?>(?:{WS}:{WS}([0-9]{{1,5}}+))?)({WS}(?>(?:;.*+)?))",
    re.DOTALL,
).fullmatch

_SENT_BY = re.compile(
    rf"[sS][iI][pP]{WS}/{WS}[0-9.]++{WS}/{WS}({TOKEN})[ \t]++((?:{HOST})(?>(?:{WS}:{WS}[0-9]{{1,5}}+)?))"
).match


class Via(NamedTuple):
    """One hop: transport in upper case, sent-by host (as written, IPv6 in brackets), port, parameters.

    The host may also be a name that is not valid in a URI, such as a container's id. It is not resolved,
    because responses go to the address the request came from.
    """

    transport: str
    host: str
    port: int | None = None
    params: Params = ()

    @classmethod
    def parse(cls, text: str) -> Via:
        """Parse a whole header value. Raises ValueError."""
        match = _VIA(text)
        if match is None:
            raise ValueError("malformed Via")
        transport, host, port, params = match.groups()
        number = None if port is None else int(port)
        if number is not None and not 0 < number <= 65_535:
            raise ValueError("Via port out of range")
        if host[0] == "[" and check_host(host) is None:
            raise ValueError("malformed Via host")
        return cls(transport.upper(), host, number, parse_params(params))

    @classmethod
    def parse_sent_by(cls, text: str) -> Via:
        """Only transport and sent-by, whatever follows them: enough for a response to a refused request.

        Also accepts other versions of SIP, which get a 505. Raises ValueError.
        """
        match = _SENT_BY(text)
        if match is None:
            raise ValueError("malformed Via")
        return cls.parse(f"SIP/2.0/{match[1]} {match[2]}")

    def __str__(self) -> str:
        place = self.host if self.port is None else f"{self.host}:{self.port}"
        return f"SIP/2.0/{self.transport} {place}{print_params(self.params)}"

    @property
    def branch(self) -> str | None:
        """The ``branch`` parameter; None if there is none."""
        return find(self.params, "branch")

    def seen_from(self, host: str, port: int) -> Via:
        """This Via with the source address of its request in ``received`` and ``rport``.

        ``received`` is set if sent-by is another address (RFC 3261 §18.2.1) or the Via has ``rport``;
        ``rport`` is set if the Via has it (RFC 3581 §4). ``host`` is an address without brackets.
        """
        wants_port = has(self.params, "rport")
        if not wants_port and self.host.strip("[]") == host and "received" not in dict(self.params):
            return self
        kept = [(name, value) for name, value in self.params if name not in {"received", "rport"}]
        kept.append(("received", host))
        if wants_port:
            kept.append(("rport", str(port)))
        return Via(self.transport, self.host, self.port, tuple(kept))
