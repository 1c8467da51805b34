"""Which spellings of an address are the same user or room, and which are not (RFC 3261 §19.1.4)."""

from __future__ import annotations

from dataclasses import dataclass

ROLES = ("From", "P-Asserted-Identity", "#invite USER", "Request-URI and To", "#join ROOM")
"""Where an address can stand: three name a user, two a room."""
AS_USER = ROLES[:3]


@dataclass(frozen=True)
class Spelling:
    """One spelling as a URI. ``wrong`` says what is wrong today in the roles ``wrong_in``."""

    uri: str
    wrong: str = ""
    wrong_in: tuple[str, ...] = ROLES
    roles: tuple[str, ...] = ROLES
    """The roles in which the spelling is allowed."""


SAME: dict[str, list[Spelling]] = {
    "alice@example.org": [
        Spelling("sip:alice@example.org"),
        Spelling("sip:alice@EXAMPLE.ORG"),
        Spelling("sip:alice@Example.Org"),
        Spelling("sip:alice@example.org."),
        Spelling("SIP:alice@example.org"),
        Spelling("sips:alice@example.org"),
        Spelling("sip:%61lice@example.org"),
        Spelling("sip:a%6Cice@example.org"),
        Spelling("sip:a%6cice@example.org"),
        Spelling("sip:%61%6C%69%63%65@example.org"),
        Spelling("sip:alice:secret@example.org"),
        Spelling("sip:alice@example.org;transport=tcp"),
        Spelling("sip:alice@example.org;user=phone"),
        Spelling("sip:alice@example.org;gr=urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"),
        Spelling("sip:alice@example.org;lr;x=y"),
        Spelling("sip:alice@example.org?Subject=hi", roles=(*AS_USER, "#join ROOM")),
        Spelling("sip:alice@example.org:5060"),
        Spelling("sip:alice@example.org:5062"),
        Spelling("sips:alice@example.org:5061"),
        Spelling("sip:alice@EXAMPLE.org.:5060;transport=udp"),
    ],
    "+4930123456@example.org": [
        Spelling("sip:+4930123456@example.org"),
        Spelling("sip:+4930123456@example.org;user=phone"),
        Spelling("sip:+4930123456@example.org:5060;user=phone"),
    ],
    "j%C3%BCrgen@example.org": [
        Spelling("sip:j%C3%BCrgen@example.org"),
        Spelling("sip:j%c3%bcrgen@example.org"),
        Spelling("sip:jürgen@example.org"),
    ],
    "a%25b@example.org": [Spelling("sip:a%25b@example.org"), Spelling("sip:%61%25%62@example.org")],
    "o'brien@example.org": [
        Spelling("sip:o'brien@example.org"),
        Spelling("sip:o%27brien@example.org"),
    ],
    "alice@localhost": [Spelling("sip:alice@localhost"), Spelling("sip:alice@LOCALHOST")],
    "alice@192.0.2.1:5062": [Spelling("sip:alice@192.0.2.1:5062"), Spelling("sip:alice@192.0.2.1:05062")],
    "alice@[2001:db8::1]": [
        Spelling("sip:alice@[2001:db8::1]"),
        Spelling("sip:alice@[2001:DB8::1]"),
        Spelling("sip:alice@[2001:db8:0:0:0:0:0:1]"),
        Spelling("sip:alice@[2001:0db8:0000:0000:0000:0000:0000:0001]"),
        Spelling("sip:alice@[2001:db8::0.0.0.1]"),
    ],
    "alice@[2001:db8::1]:5062": [
        Spelling("sip:alice@[2001:db8::1]:5062"),
        Spelling("sip:alice@[2001:0DB8::0:1]:5062"),
    ],
}
"""Each address in its canonical form, with spellings of it."""
DIFFERENT = [
    ("sip:alice@example.org", "sip:Alice@example.org", "a user part is case-sensitive"),
    ("sip:alice@example.org", "sip:alice@sub.example.org", "another host"),
    ("sip:alice@example.org", "sip:alice@example.com", "another host"),
    ("sip:alice@example.org", "sip:alice%20@example.org", "a space belongs to the user"),
    ("sip:alice@example.org", "sip:alice.@example.org", "a dot belongs to the user"),
    ("sip:alice@example.org", "sip:alice;ext=1@example.org", "a user parameter belongs to the user"),
    ("sip:alice@example.org", "sip:%2561lice@example.org", "escapes are decoded once"),
    ("sip:a/b@example.org", "sip:a%2Fb@example.org", "a reserved character differs from its escape"),
    ("sip:a;b@example.org", "sip:a%3Bb@example.org", "a reserved character differs from its escape"),
    (
        "sip:+4930123@example.org",
        "sip:%2B4930123@example.org",
        "a reserved character differs from its escape",
    ),
    ("sip:a-b@example.org", "sip:a_b@example.org", "another character"),
    ("sip:+4930123@example.org", "sip:+49-30-123@example.org", "only tel URIs ignore visual separators"),
    ("sip:+4930123@example.org", "sip:4930123@example.org", "a plus belongs to the user"),
    ("sip:j%C3%BCrgen@example.org", "sip:ju%CC%88rgen@example.org", "Unicode is not normalised"),
    ("sip:alice@192.0.2.1", "sip:alice@192.0.2.2", "another address"),
    ("sip:alice@192.0.2.1:5062", "sip:alice@192.0.2.1:5063", "ports tell users at one address apart"),
    ("sip:alice@[2001:db8::1]:5062", "sip:alice@[2001:db8::1]:5063", "ports tell users at one address apart"),
    ("sip:alice@[2001:db8::1]", "sip:alice@[2001:db8::2]", "another address"),
    (
        "sip:alice@[::ffff:192.0.2.1]",
        "sip:alice@192.0.2.1",
        "an IPv4-mapped IPv6 address is not the IPv4 address",
    ),
    ("sip:alice@localhost", "sip:alice@127.0.0.1", "a name is not resolved"),
]
"""Two URIs, and why they are different users and rooms."""
