"""The expected result of every torture message, from the codec and from an edge, with the reason.

``Case.codec`` is checked by ``test_codec.py``. ``Case.original`` (the message as the RFC has it) and
``Case.message`` (turned into a MESSAGE by :mod:`tests.conformance.as_message`) list the statuses that an edge
with default settings may respond with; an empty tuple means no response. Where an RFC leaves a choice, ours
comes first.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.conformance.notation import load

OK = 0
"""The codec finds nothing wrong; what follows depends on method and content."""
DROP = -1
"""A bad response: dropped, since nothing can be sent back."""

NOT_ALLOWED = (405, 501)
"""RFC 3261 §21.4.6 for known methods, §21.5.2 for unknown ones; RFC 4475 allows either."""
NO_CONFERENCE = (404, 421, 481, 488, *NOT_ALLOWED)
"""The same for INVITE and BYE: no such room (RFC 3261 §21.4.5), a client without a GRUU (RFC 5627 §5.1) that
knows no group chat, or no dialog of ours (§15.1.2)."""
REGISTERED = (200, *NOT_ALLOWED)
"""An edge keeps no bindings, but tells a trusted peer that it has understood its REGISTER."""
ACCEPTED = (202,)
SILENCE: tuple[int, ...] = ()


@dataclass(frozen=True)
class Case:
    """One message: its file name, its section, the expected results, and why."""

    name: str
    section: str
    codec: int
    original: tuple[int, ...]
    message: tuple[int, ...] | None
    why: str
    rfc: str = "rfc4475"

    @property
    def data(self) -> bytes:
        """The message as it goes on the wire."""
        return load(self.rfc, self.name)

    def __str__(self) -> str:
        return f"{self.rfc}-{self.section}-{self.name}"


RFC4475 = [
    # 3.1.1 Valid messages
    Case("wsinv", "3.1.1.1", OK, NO_CONFERENCE, ACCEPTED, "folding, whitespace and letter case, all valid"),
    Case(
        "intmeth", "3.1.1.2", OK, NOT_ALLOWED, ACCEPTED, "any token is a method; a quoted-pair may hold NUL"
    ),
    Case("esc01", "3.1.1.3", OK, NO_CONFERENCE, ACCEPTED, "%-escapes are decoded once"),
    Case("escnull", "3.1.1.4", OK, REGISTERED, ACCEPTED, "%00 is a valid escape in a user part"),
    Case("esc02", "3.1.1.5", OK, NOT_ALLOWED, ACCEPTED, "% is no escape outside a URI"),
    Case("lwsdisp", "3.1.1.6", OK, (200,), ACCEPTED, "no space is needed between display name and <"),
    Case("longreq", "3.1.1.7", OK, NO_CONFERENCE, ACCEPTED, "long values and many Vias, within our limits"),
    Case("dblreq", "3.1.1.8", OK, REGISTERED, ACCEPTED, "octets beyond Content-Length are ignored"),
    Case("semiuri", "3.1.1.9", OK, (200,), ACCEPTED, "a semicolon may be part of the user part"),
    Case("transports", "3.1.1.10", OK, (200,), ACCEPTED, "any token is a transport in Via"),
    Case("mpart01", "3.1.1.11", OK, ACCEPTED, ACCEPTED, "Content-Length alone delimits a binary body"),
    Case("unreason", "3.1.1.12", OK, SILENCE, None, "UTF-8 in a reason phrase; matches no transaction"),
    Case("noreason", "3.1.1.13", OK, SILENCE, None, "an empty reason phrase; matches no transaction"),
    # 3.1.2 Invalid messages
    Case("badinv01", "3.1.2.1", 400, (400,), (400,), "empty parameters and values between separators"),
    Case(
        "clerr", "3.1.2.2", 400, (400,), (400,), "a datagram shorter than its Content-Length (RFC 3261 §18.3)"
    ),
    Case("ncl", "3.1.2.3", 400, (400,), (400,), "a negative Content-Length"),
    Case("scalar02", "3.1.2.4", 400, (400,), (400,), "CSeq and Max-Forwards out of range"),
    Case("scalarlg", "3.1.2.5", DROP, SILENCE, None, "a response with CSeq out of range is dropped"),
    Case("quotbal", "3.1.2.6", 400, (400,), (400,), "an unterminated quoted string"),
    Case("ltgtruri", "3.1.2.7", 400, (400,), (400,), "a Request-URI in angle brackets"),
    Case("lwsruri", "3.1.2.8", 400, (400,), (400,), "whitespace in the Request-URI"),
    Case("lwsstart", "3.1.2.9", 400, (400,), (400,), "two spaces between parts of the Request-Line"),
    Case(
        "trws", "3.1.2.10", 400, (400,), (400,), "spaces after the SIP version; the RFC lets us accept it too"
    ),
    Case("escruri", "3.1.2.11", 400, (400,), (400,), "headers in a Request-URI (RFC 3261 §19.1.1)"),
    Case("baddate", "3.1.2.12", OK, NO_CONFERENCE, ACCEPTED, "a Date that is not in GMT is ignored"),
    Case(
        "regbadct",
        "3.1.2.13",
        400,
        (400, *NOT_ALLOWED),
        ACCEPTED,
        "a malformed Contact; a MESSAGE does not use it",
    ),
    Case("badaspec", "3.1.2.14", 400, (400,), (400,), "spaces between bracket and URI"),
    Case(
        "baddn",
        "3.1.2.15",
        400,
        (200,),
        ACCEPTED,
        "an unquoted display name with a comma; its meaning is clear",
    ),
    Case("badvers", "3.1.2.16", 505, (505,), (505,), "SIP/7.0"),
    Case("mismatch01", "3.1.2.17", 400, (400,), (400,), "CSeq names another method than the Request-Line"),
    Case("mismatch02", "3.1.2.18", 400, (400, 501), (400,), "the same with an unknown method"),
    Case("bigcode", "3.1.2.19", DROP, SILENCE, None, "a response whose status has ten digits is dropped"),
    # 3.2 Transaction layer, 3.3 Application layer, 3.4 Backward compatibility
    Case(
        "badbranch",
        "3.2.1",
        OK,
        (200,),
        ACCEPTED,
        "an empty branch after the cookie; we match by Call-ID, CSeq and From tag",
    ),
    Case("insuf", "3.3.1", 400, (400,), (400,), "To, From, Call-ID and Max-Forwards are missing"),
    Case("unkscm", "3.3.2", 416, (416,), (416,), "an unknown URI scheme"),
    Case("novelsc", "3.3.3", 416, (416,), (416,), "a registered scheme that SIP does not use"),
    Case("unksm2", "3.3.4", OK, (404, *NOT_ALLOWED), (400, 403, 404, 416), "other schemes in To and From"),
    Case("bext01", "3.3.5", OK, (420,), (420,), "Require names an unknown extension"),
    Case("invut", "3.3.6", OK, NO_CONFERENCE, (415,), "an unsupported body type"),
    Case("regaut01", "3.3.7", OK, REGISTERED, (202, 401), "an unknown authentication scheme is ignored"),
    Case("multi01", "3.3.8", 400, (400,), (400,), "single-valued headers that appear several times"),
    # The RFC's Content-Length of 154 does not fit its body; our file has 152, so that a case has one fault.
    Case("mcl01", "3.3.9", 400, (400,), (400,), "two Content-Lengths: the end of the body is unknown"),
    Case("bcast", "3.3.10", OK, SILENCE, None, "the Via is not ours; matches no transaction"),
    Case("zeromf", "3.3.11", OK, (200,), (483,), "0 hops left: OPTIONS is not forwarded, a MESSAGE would be"),
    Case("cparam01", "3.3.12", OK, REGISTERED, ACCEPTED, "an unknown Contact parameter"),
    Case("cparam02", "3.3.13", OK, REGISTERED, ACCEPTED, "an unknown URI parameter in Contact"),
    Case("regescrt", "3.3.14", OK, REGISTERED, ACCEPTED, "escaped headers in a Contact URI"),
    Case(
        "sdp01", "3.3.15", OK, NO_CONFERENCE, ACCEPTED, "Accept does not matter: a 2xx to MESSAGE has no body"
    ),
    Case("inv2543", "3.4.1", OK, NO_CONFERENCE, ACCEPTED, "RFC 2543 style: no branch, tag or Max-Forwards"),
]

_GOOD = "an IPv6 reference as host"

RFC5118 = [
    Case("ipv6-good", "4.1", OK, REGISTERED, ACCEPTED, _GOOD, "rfc5118"),
    Case("ipv6-bad", "4.2", 400, (400,), (400,), "an IPv6 address without brackets", "rfc5118"),
    Case(
        "port-ambiguous",
        "4.3",
        OK,
        REGISTERED,
        ACCEPTED,
        "everything in the brackets is the address",
        "rfc5118",
    ),
    Case("port-unambiguous", "4.4", OK, REGISTERED, ACCEPTED, "a port after the bracket", "rfc5118"),
    Case(
        "via-received-param-with-delim",
        "4.5",
        OK,
        NO_CONFERENCE,
        ACCEPTED,
        "received with brackets",
        "rfc5118",
    ),
    Case(
        "via-received-param-no-delim",
        "4.5",
        OK,
        (200,),
        ACCEPTED,
        "received without brackets, as in the grammar",
        "rfc5118",
    ),
    # The RFC's Content-Lengths in 4.6, 4.8 and 4.9 do not fit its bodies; our files have the right ones.
    Case("ipv6-in-sdp", "4.6", OK, NO_CONFERENCE, ACCEPTED, "an IPv6 address in the body", "rfc5118"),
    Case("mult-ip-in-header", "4.7", OK, NO_CONFERENCE, ACCEPTED, "IPv4 and IPv6 in one request", "rfc5118"),
    Case("mult-ip-in-sdp", "4.8", OK, NO_CONFERENCE, ACCEPTED, "IPv4 and IPv6 in the body", "rfc5118"),
    Case("ipv4-mapped-ipv6", "4.9", OK, NO_CONFERENCE, ACCEPTED, "an IPv4-mapped IPv6 address", "rfc5118"),
    Case(
        "ipv6-bug-abnf-3-colons",
        "4.10",
        OK,
        (200,),
        ACCEPTED,
        "three colons, as RFC 3261's grammar allows",
        "rfc5118",
    ),
    Case("ipv6-correct-abnf-2-colons", "4.10", OK, (200,), ACCEPTED, "two colons, the right form", "rfc5118"),
]

CASES = RFC4475 + RFC5118
