"""Header fields: compact and other spellings of names, whitespace, folding, order (RFC 3261 §7.3.1)."""

from __future__ import annotations

from tests.conformance.traits.trait import HEADERS, Trait, message

COMPACT = {
    "Via": "v", "From": "f", "To": "t", "Call-ID": "i", "Content-Type": "c", "Content-Length": "l",
}  # fmt: skip
COMPACT_OF_OTHERS = {
    "Subject": ("s", "greetings"),
    "Supported": ("k", "timer, path"),
    "Contact": ("m", "<sip:alice@192.0.2.1>"),
    "Content-Encoding": ("e", "identity"),
    "Allow-Events": ("u", "presence"),
    "Event": ("o", "presence"),
    "Refer-To": ("r", "<sip:bob@example.org>"),
    "Referred-By": ("b", "<sip:bob@example.org>"),
    "Session-Expires": ("x", "1800"),
    "Accept-Contact": ("a", '*;+g.3gpp.icsi-ref="urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.msg"'),
    "Reject-Contact": ("j", "*;mobility=fixed"),
    "Request-Disposition": ("d", "no-fork"),
    "Identity": ("y", "eyJhbGciOiJFUzI1NiJ9..abc;info=<https://cert.example.org/p.cer>;alg=ES256"),
}
VALUES = {**HEADERS, "Content-Length": "5"}
NAMES = {
    "in upper case": str.upper,
    "in lower case": str.lower,
    "in alternating case": lambda name: "".join(
        char.upper() if number % 2 else char.lower() for number, char in enumerate(name)
    ),
}
COLONS = {
    "no space after the colon": "{}:{}",
    "two spaces after the colon": "{}:  {}",
    "a tab after the colon": "{}:\t{}",
    "a space before the colon": "{} : {}",
    "a tab before the colon": "{}\t: {}",
    "spaces after the value": "{}: {}  ",
    "a tab after the value": "{}: {}\t",
}
FOLDED = {
    "Via": ("SIP/2.0/UDP 192.0.2.1:5062", ";branch=z9hG4bK776;rport"),
    "From": ("<sip:alice@example.org>", ";tag=1928"),
    "To": ("", "<sip:room@example.org>"),
    "Call-ID": ("", "a84b4c76e66710"),
    "CSeq": ("314159", "MESSAGE"),
    "Content-Type": ("text/plain;", "charset=utf-8"),
    "Content-Length": ("", "5"),
    "Max-Forwards": ("", "70"),
    "Subject": ("a long", "subject"),
    "Supported": ("timer,", "path"),
}
"""Two parts of a value, between which the line is folded."""


def _names() -> list[Trait]:
    cases = [
        Trait(f"{long} has the compact name {short}", message(raw={long: f"{short}: {VALUES[long]}"}))
        for long, short in COMPACT.items()
    ]
    cases += [
        Trait(
            f"{long} has the compact name {short} in upper case",
            message(raw={long: f"{short.upper()}: {VALUES[long]}"}),
        )
        for long, short in COMPACT.items()
    ]
    cases += [
        Trait(f"{long}, which is ignored, has the compact name {short}", message(last=[f"{short}: {value}"]))
        for long, (short, value) in COMPACT_OF_OTHERS.items()
    ]
    cases += [
        Trait(f"the name {long} is {how}", message(raw={long: f"{spell(long)}: {VALUES[long]}"}))
        for long in VALUES
        for how, spell in NAMES.items()
    ]
    everything = {long: f"{short}: {VALUES[long]}" for long, short in COMPACT.items()}
    return [*cases, Trait("all headers that have compact names use them", message(raw=everything))]


def _whitespace() -> list[Trait]:
    return [
        Trait(f"{long} has {how}", message(raw={long: form.format(long, VALUES[long])}))
        for how, form in COLONS.items()
        for long in ("Via", "From", "To", "CSeq", "Call-ID", "Content-Type", "Content-Length")
    ]


def _folding() -> list[Trait]:
    cases = []
    for long, (one, other) in FOLDED.items():
        for how, blank in (("a space", " "), ("a tab", "\t"), ("spaces and tabs", " \t  \t")):
            line = f"{long}: {one}\r\n{blank}{other}"
            cases.append(Trait(f"{long} is folded with {how}", message(raw={long: line})))
    twice = 'From:\r\n "Alice"\r\n\t<sip:alice@example.org>\r\n ;tag\r\n =1928'
    return [*cases, Trait("From is folded four times", message(raw={"From": twice}), name="Alice")]


def _order() -> list[Trait]:
    lines = [f"{name}: {value}" for name, value in VALUES.items()]
    start, end = b"MESSAGE sip:room@example.org SIP/2.0\r\n", b"\r\n\r\nhello"

    def ordered(*names: str) -> bytes:
        rest = [line for line in lines if line.partition(":")[0] not in names]
        return start + "\r\n".join([f"{name}: {VALUES[name]}" for name in names] + rest).encode() + end

    orders = {
        "the headers are in reverse order": start + "\r\n".join(reversed(lines)).encode() + end,
        "the headers are in alphabetical order": start + "\r\n".join(sorted(lines)).encode() + end,
        "CSeq comes first": ordered("CSeq"),
        "Content-Length comes first": ordered("Content-Length"),
        "Call-ID and CSeq come before Via": ordered("Call-ID", "CSeq"),
        "Max-Forwards comes before Via": ordered("Max-Forwards"),
        "To comes before From": ordered("Via", "To", "From"),
        "Content-Type comes before From": ordered("Via", "Content-Type"),
    }
    return [Trait(about, data) for about, data in orders.items()]


CASES = [*_names(), *_whitespace(), *_folding(), *_order()]
