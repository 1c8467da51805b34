"""SIP URIs in From and the Request-URI: users, escapes, hosts, parameters (RFC 3261 §19.1)."""

from __future__ import annotations

from tests.conformance.traits.trait import ROOM, Trait, message

USERS = {
    "digits": ("10111", "10111"),
    "a global number": ("+4930123456", "+4930123456"),
    "a number with visual separators": ("+49-30-123.456", "+49-30-123.456"),
    "a number with an extension": ("+4930123;ext=12", "+4930123;ext=12"),
    "a number with a phone-context": ("123;phone-context=+49", "123;phone-context=+49"),
    "a star code": ("*98", "*98"),
    "dots, dashes and underscores": ("alice.p-l_1", "alice.p-l_1"),
    "an apostrophe": ("o'brien", "o'brien"),
    "an exclamation mark and parentheses": ("alice!(home)", "alice!(home)"),
    "an ampersand, an equals sign, a plus and a dollar": ("a&b=c+d$", "a&b=c+d$"),
    "a comma, a semicolon, a question mark and a slash": ("a,b;c?d/e", "a,b;c?d/e"),
    "an escaped space": ("alice%20liddell", "alice%20liddell"),
    "an escaped letter": ("%61lice", "alice"),
    "an escaped at sign": ("alice%40home", "alice%40home"),
    "an escaped number sign": ("%23alice", "%23alice"),
    "an escaped quote": ("al%22ice", "al%22ice"),
    "escapes in lower case": ("caf%c3%a9", "caf%C3%A9"),
    "a realm after a percent sign": ("alice%25realm", "alice%25realm"),
    "64 letters": ("a" * 64, "a" * 64),
}
UNESCAPED = {
    "a number sign": ("alice#1", "alice%231"),
    "UTF-8": ("jürgen", "j%C3%BCrgen"),
    "Chinese letters": ("王小明", "%E7%8E%8B%E5%B0%8F%E6%98%8E"),
    "square brackets": ("alice[1]", "alice%5B1%5D"),
}
"""Users that should be escaped and are not; the meaning is clear (Kamailio accepts them)."""
HOSTS = {
    "in upper case": ("EXAMPLE.ORG", "example.org"),
    "with a final dot": ("example.org.", "example.org"),
    "with an underscore": ("my_host.example.org", "my_host.example.org"),
    "with dashes and digits": ("a-1.b-2.example.org", "a-1.b-2.example.org"),
    "in punycode": ("xn--mller-kva.example", "xn--mller-kva.example"),
    "without dots": ("localhost", "localhost"),
    "an IPv4 address": ("192.0.2.1", "192.0.2.1"),
    "an IPv4 address with a port": ("192.0.2.1:5062", "192.0.2.1:5062"),
    "an IPv6 reference": ("[2001:db8::1]", "[2001:db8::1]"),
    "an IPv6 reference in long form": ("[2001:0DB8:0:0:0:0:0:1]", "[2001:db8::1]"),
    "an IPv6 reference with a port": ("[2001:db8::1]:5062", "[2001:db8::1]:5062"),
    "an IPv4-mapped IPv6 reference": ("[::ffff:192.0.2.1]", "[::ffff:c000:201]"),
}
PARAMETERS = {
    "transport": "transport=udp",
    "transport in upper case": "transport=TCP",
    "user=phone": "user=phone",
    "lr": "lr",
    "lr=on": "lr=on",
    "ob (RFC 5626)": "ob",
    "gr with a URN (RFC 5627)": "gr=urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
    "opaque and gruu of Lync": "opaque=user:epid:XHiWcZA4TlaDkwMgksvyrQAA;gruu",
    "maddr and ttl": "maddr=192.0.2.1;ttl=16",
    "method": "method=MESSAGE",
    "comp=sigcomp": "comp=sigcomp",
    "line of snom": "line=ox3ta8wz",
    "rinstance of CounterPath": "rinstance=e4b1f8b2f1d1a3c0",
    "registering_acc of Jitsi": "registering_acc=example_org",
    "rtcweb-breaker of Doubango": "rtcweb-breaker=no",
    "an escaped value": "x=a%20b",
    "a value with a bracket": "x=[1]",
    "an unknown name with a dash": "x-my-param=1",
}
TARGETS = {
    "has the port 5060": "sip:room@example.org:5060",
    "has the scheme in upper case": "SIP:room@example.org",
    "is a sips URI": "sips:room@example.org",
    "has a final dot in the host": "sip:room@example.org.",
    "has the host in upper case": "sip:room@EXAMPLE.ORG",
    "has an escaped letter": "sip:%72oom@example.org",
}


def _from(about: str, uri: str, sender: str) -> Trait:
    return Trait(about, message(From=f"<{uri}>;tag=1928"), sender=sender)


CASES = [
    *(
        _from(f"the user in From is {how}", f"sip:{user}@example.org", f"{sender}@example.org")
        for how, (user, sender) in USERS.items()
    ),
    *(
        _from(
            f"the user in From has {how} that is not escaped",
            f"sip:{user}@example.org",
            f"{sender}@example.org",
        )
        for how, (user, sender) in UNESCAPED.items()
    ),
    *(
        _from(f"the host in From is {how}", f"sip:alice@{host}", f"alice@{sender}")
        for how, (host, sender) in HOSTS.items()
    ),
    *(
        _from(
            f"the URI in From has the parameter {how}", f"sip:alice@example.org;{value}", "alice@example.org"
        )
        for how, value in PARAMETERS.items()
    ),
    *(
        Trait(f"the Request-URI has the parameter {how}", message(uri=f"sip:room@example.org;{value}"))
        for how, value in PARAMETERS.items()
    ),
    *(
        Trait(f"the Request-URI {how}", message(uri=uri, To=f"<{uri}>"), room=ROOM)
        for how, uri in TARGETS.items()
    ),
    _from("the scheme in From is in upper case", "SIP:alice@example.org", "alice@example.org"),
    _from("From has a sips URI", "sips:alice@example.org", "alice@example.org"),
    _from("From has a password", "sip:alice:secret@example.org", "alice@example.org"),
    _from("From has an empty password", "sip:alice:@example.org", "alice@example.org"),
    _from("From has a header in its URI", "sip:alice@example.org?Subject=hi", "alice@example.org"),
    _from(
        "From has the port 5060",
        "sip:alice@example.org:5060",
        "alice@example.org",
    ),
    Trait("the Request-URI has a header", message(uri="sip:room@example.org?Subject=hi"), status=400),
    Trait("the Request-URI is in brackets", message(uri="<sip:room@example.org>"), status=400),
    Trait("the Request-URI is a tel URI", message(uri="tel:+4930123456"), status=416),
    Trait("the Request-URI is an im URI (RFC 3860)", message(uri="im:room@example.org"), status=416),
    Trait(
        "the user in From is escaped with bad digits", message(From="<sip:%zz@example.org>;tag=1"), status=400
    ),
    Trait(
        "the user in From has an escaped line end",
        message(From="<sip:a%0d%0aVia:@example.org>;tag=1"),
        status=400,
    ),
    Trait(
        "the host in From is an IPv6 address without brackets",
        message(From="<sip:a@2001:db8::1>;tag=1"),
        status=400,
    ),
    Trait("the port in From is above 65535", message(From="<sip:a@example.org:65536>;tag=1"), status=400),
]
