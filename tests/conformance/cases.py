"""What every torture message has to get, from the codec and from an edge, and why.

``Case.codec`` is judged by ``test_codec.py``. ``Case.answers`` (the message as it is) and ``Case.message``
(turned into a MESSAGE by :mod:`tests.conformance.as_message`) are what a live edge answers with default
settings and no room rules: any of the statuses, none for silence. Where an RFC leaves a choice, ours stands
first.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.conformance.notation import load

OK = 0
"""The codec finds nothing wrong; what follows depends on method and content."""
DROP = -1
"""Nothing to answer: a bad response."""

NOT_ALLOWED = (405, 501)
"""RFC 3261 section 21.4.6 for methods we know, 21.5.2 for others; RFC 4475 speaks of either."""
ACCEPTED = (202,)
SILENCE: tuple[int, ...] = ()


@dataclass(frozen=True)
class Case:
    """One message: its file, its section, what is expected, and why."""

    name: str
    section: str
    codec: int
    answers: tuple[int, ...]
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
    Case("wsinv", "3.1.1.1", OK, NOT_ALLOWED, ACCEPTED, "folding, blanks and cases that are all allowed"),
    Case("intmeth", "3.1.1.2", OK, NOT_ALLOWED, ACCEPTED, "any token is a method; quoted-pair holds NUL"),
    Case("esc01", "3.1.1.3", OK, NOT_ALLOWED, ACCEPTED, "escapes stand for their character, once"),
    Case("escnull", "3.1.1.4", OK, NOT_ALLOWED, ACCEPTED, "%00 is a character like others"),
    Case("esc02", "3.1.1.5", OK, NOT_ALLOWED, ACCEPTED, "% escapes nothing outside of URIs"),
    Case("lwsdisp", "3.1.1.6", OK, (200,), ACCEPTED, "no blank is needed before the bracket"),
    Case("longreq", "3.1.1.7", OK, NOT_ALLOWED, ACCEPTED, "long values, many Vias, within our limits"),
    Case("dblreq", "3.1.1.8", OK, NOT_ALLOWED, ACCEPTED, "octets after Content-Length are ignored"),
    Case("semiuri", "3.1.1.9", OK, (200,), ACCEPTED, "a semicolon may be part of the user"),
    Case("transports", "3.1.1.10", OK, (200,), ACCEPTED, "any token is a transport in Via"),
    Case("mpart01", "3.1.1.11", OK, ACCEPTED, ACCEPTED, "binary bodies are framed by length alone"),
    Case("unreason", "3.1.1.12", OK, SILENCE, None, "UTF-8 in a reason phrase; matches no transaction"),
    Case("noreason", "3.1.1.13", OK, SILENCE, None, "an empty reason phrase; matches no transaction"),
    # 3.1.2 Invalid messages
    Case("badinv01", "3.1.2.1", 400, (400,), (400,), "separators without parameters between them"),
    Case("clerr", "3.1.2.2", 400, (400,), (400,), "18.3: a datagram shorter than its Content-Length"),
    Case("ncl", "3.1.2.3", 400, (400,), (400,), "a negative Content-Length"),
    Case("scalar02", "3.1.2.4", 400, (400,), (400,), "CSeq and Max-Forwards beyond their range"),
    Case("scalarlg", "3.1.2.5", DROP, SILENCE, None, "CSeq beyond its range: a response is dropped"),
    Case("quotbal", "3.1.2.6", 400, (400,), (400,), "a quoted string that does not end"),
    Case("ltgtruri", "3.1.2.7", 400, (400,), (400,), "a Request-URI takes no brackets"),
    Case("lwsruri", "3.1.2.8", 400, (400,), (400,), "a blank in the Request-URI"),
    Case("lwsstart", "3.1.2.9", 400, (400,), (400,), "two blanks between parts of the Request-Line"),
    Case("trws", "3.1.2.10", 400, (400,), (400,), "blanks behind the version; accepting is allowed too"),
    Case("escruri", "3.1.2.11", 400, (400,), (400,), "19.1.1: no headers in a Request-URI"),
    Case("baddate", "3.1.2.12", OK, NOT_ALLOWED, ACCEPTED, "a Date not in GMT is as good as none"),
    Case("regbadct", "3.1.2.13", 400, (400,), (400,), "20.10: a URI with headers needs brackets"),
    Case("badaspec", "3.1.2.14", 400, (400,), (400,), "blanks between bracket and URI"),
    Case("baddn", "3.1.2.15", 400, (400,), (400,), "a display name with a comma needs quotes"),
    Case("badvers", "3.1.2.16", 505, (505,), (505,), "SIP/7.0"),
    Case("mismatch01", "3.1.2.17", 400, (400,), (400,), "CSeq names another method"),
    Case("mismatch02", "3.1.2.18", 400, (400, 501), (400,), "the same with a method nobody knows"),
    Case("bigcode", "3.1.2.19", DROP, SILENCE, None, "a status of ten digits: a response is dropped"),
    # 3.2 Transaction layer, 3.3 Application layer, 3.4 Backward compatibility
    Case(
        "badbranch",
        "3.2.1",
        OK,
        (200,),
        ACCEPTED,
        "nothing behind the cookie: we match by Call-ID, CSeq, From",
    ),
    Case("insuf", "3.3.1", 400, (400,), (400,), "To, From, Call-ID and Max-Forwards are missing"),
    Case("unkscm", "3.3.2", 416, (416,), (416,), "a scheme nobody knows"),
    Case("novelsc", "3.3.3", 416, (416,), (416,), "a scheme that is known, but not to SIP"),
    Case("unksm2", "3.3.4", OK, NOT_ALLOWED, (400, 403, 404, 416), "foreign schemes in To and From"),
    Case("bext01", "3.3.5", OK, (420,), (420,), "Require names what nobody supports"),
    Case("invut", "3.3.6", OK, NOT_ALLOWED, (415,), "a body of a type we do not take"),
    Case("regaut01", "3.3.7", OK, NOT_ALLOWED, (202, 401), "unknown scheme: as without credentials"),
    Case("multi01", "3.3.8", 400, (400,), (400,), "several values of what comes only once"),
    # (The file has a Content-Length of 152; the RFC's 154 does not fit its body. One fault a case.)
    Case("mcl01", "3.3.9", 400, (400,), (400,), "two Content-Lengths: the body's end is a guess"),
    Case("bcast", "3.3.10", OK, SILENCE, None, "not our Via: matches no transaction"),
    Case("zeromf", "3.3.11", OK, (200,), (483,), "nothing is forwarded for OPTIONS; a MESSAGE would be"),
    Case("cparam01", "3.3.12", OK, NOT_ALLOWED, ACCEPTED, "an unknown parameter of Contact"),
    Case("cparam02", "3.3.13", OK, NOT_ALLOWED, ACCEPTED, "an unknown parameter of the Contact's URI"),
    Case("regescrt", "3.3.14", OK, NOT_ALLOWED, ACCEPTED, "escaped headers in a Contact's URI"),
    Case("sdp01", "3.3.15", OK, NOT_ALLOWED, ACCEPTED, "Accept: a 2xx to MESSAGE has no body to refuse"),
    Case("inv2543", "3.4.1", OK, NOT_ALLOWED, ACCEPTED, "RFC 2543: no branch, tag and Max-Forwards"),
]

_GOOD = "an IPv6 reference where a host may stand"

RFC5118 = [
    Case("ipv6-good", "4.1", OK, NOT_ALLOWED, ACCEPTED, _GOOD, "rfc5118"),
    Case("ipv6-bad", "4.2", 400, (400,), (400,), "an IPv6 address without brackets", "rfc5118"),
    Case("port-ambiguous", "4.3", OK, NOT_ALLOWED, ACCEPTED, "all in the brackets is address", "rfc5118"),
    Case("port-unambiguous", "4.4", OK, NOT_ALLOWED, ACCEPTED, "a port after the bracket", "rfc5118"),
    Case(
        "via-received-param-with-delim", "4.5", OK, NOT_ALLOWED, ACCEPTED, "brackets in received", "rfc5118"
    ),
    Case("via-received-param-no-delim", "4.5", OK, (200,), ACCEPTED, "none, as the grammar has", "rfc5118"),
    # The RFC's Content-Lengths of 4.6, 4.8 and 4.9 do not fit its bodies; the files have the right ones.
    Case("ipv6-in-sdp", "4.6", OK, NOT_ALLOWED, ACCEPTED, "the body is none of our business", "rfc5118"),
    Case("mult-ip-in-header", "4.7", OK, NOT_ALLOWED, ACCEPTED, "IPv4 and IPv6 in one request", "rfc5118"),
    Case("mult-ip-in-sdp", "4.8", OK, NOT_ALLOWED, ACCEPTED, "the same in the body", "rfc5118"),
    Case("ipv4-mapped-ipv6", "4.9", OK, NOT_ALLOWED, ACCEPTED, "IPv4 mapped into IPv6", "rfc5118"),
    Case("ipv6-bug-abnf-3-colons", "4.10", OK, (200,), ACCEPTED, "RFC 3261's one colon more", "rfc5118"),
    Case("ipv6-correct-abnf-2-colons", "4.10", OK, (200,), ACCEPTED, "and without it", "rfc5118"),
]

CASES = RFC4475 + RFC5118
