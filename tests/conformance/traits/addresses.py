"""From and To: display names, brackets, tags, parameters (RFC 3261 §20.10, §20.20 and §25.1)."""

from __future__ import annotations

from tests.conformance.traits.trait import Trait, message

URI = "<sip:alice@example.org>"
NAMES = {
    "in quotes": ('"Alice"', "Alice"),
    "in quotes without a space after it": ('"Alice"', "Alice"),
    "of two quoted words": ('"Alice Liddell"', "Alice Liddell"),
    "of one word without quotes": ("Alice", "Alice"),
    "of three words without quotes": ("Alice Pleasance Liddell", "Alice Pleasance Liddell"),
    "of words with several spaces between": ("Alice   Liddell", "Alice Liddell"),
    "that is empty": ('""', ""),
    "with escaped quotes": ('"Alice \\"Al\\" Liddell"', 'Alice "Al" Liddell'),
    "with an escaped backslash": ('"DOMAIN\\\\alice"', "DOMAIN\\alice"),
    "with brackets in quotes": ('"Alice <sales>"', "Alice <sales>"),
    "with a comma and a semicolon in quotes": ('"Liddell, Alice; Sales"', "Liddell, Alice; Sales"),
    "with UTF-8 in quotes": ('"Jürgen Müller"', "Jürgen Müller"),
    "with Chinese letters in quotes": ('"王小明"', "王小明"),
    "with an emoji in quotes": ('"Alice 👋"', "Alice 👋"),
    "of digits": ('"10111"', "10111"),
    "that is a telephone number without quotes": ("+4930123456", "+4930123456"),
    "that is an address in quotes": ('"alice@example.org"', "alice@example.org"),
    "of token characters without quotes": (
        "token1~` token2'+_ token3*%!.-",
        "token1~` token2'+_ token3*%!.-",
    ),
    "of 200 letters": (f'"{"a" * 200}"', "a" * 200),
}
UNQUOTED = {
    "has an umlaut": ("Jürgen", "Jürgen"),
    "is Chinese": ("王小明", "王小明"),
    "has parentheses": ("Alice (Sales)", "Alice (Sales)"),
    "has a comma": ("Liddell, Alice", "Liddell, Alice"),
    "has an at sign": ("alice@example.org", "alice@example.org"),
    "has a colon": ("Room: Alice", "Room: Alice"),
    "has a slash": ("Sales/Alice", "Sales/Alice"),
}
"""Names that RFC 3261 requires quotes for, and whose meaning is clear (Kamailio accepts them)."""
TAGS = {
    "of digits": "29244",
    "with a tilde": "3~Tb0FQrE",
    "with every token character": "_token~1'+`*%!-.",
    "of 128 characters": "t" * 128,
    "of RFC 2543, absent": "",
}
ODD_TAGS = {"a slash": "4f/a", "an equals sign": "YWJj=", "an at sign": "1928@host"}
FORMS = {
    "no brackets": "sip:alice@example.org;tag=1928",
    "no brackets and spaces before the semicolon": "sip:alice@example.org ;tag=1928",
    "spaces between name and bracket": '"Alice"    <sip:alice@example.org>;tag=1928',
    "a tab between name and bracket": '"Alice"\t<sip:alice@example.org>;tag=1928',
    "spaces around the tag": "<sip:alice@example.org> ; tag = 1928",
    "TAG in upper case": "<sip:alice@example.org>;TAG=1928",
    "a parameter before the tag": "<sip:alice@example.org>;epid=ce4ccd49ad;tag=1928",
    "a parameter after the tag": "<sip:alice@example.org>;tag=1928;epid=ce4ccd49ad",
    "a parameter with a quoted value": '<sip:alice@example.org>;tag=1928;x="a;b"',
    "a parameter without a value": "<sip:alice@example.org>;tag=1928;flag",
    "a parameter with an IPv6 address": "<sip:alice@example.org>;tag=1928;x=[2001:db8::1]",
    "a parameter whose value has colons": "<sip:alice@example.org>;tag=1928;x=urn:uuid:f81d4fae",
}
TO_FORMS = {
    "no brackets": "sip:room@example.org",
    "a display name": '"The room" <sip:room@example.org>',
    "a tag, as in a dialog": "<sip:room@example.org>;tag=ae8f1b2c33",
    "a transport parameter outside of the brackets": "<sip:room@example.org>;transport=udp",
    "a transport parameter inside": "<sip:room@example.org;transport=tcp>",
    "user=phone": "<sip:room@example.org;user=phone>",
}


def _named(about: str, name: str, shown: str) -> Trait:
    gap = "" if "without a space" in about else " "
    data = message(From=f"{name}{gap}{URI};tag=1928")
    return Trait(about, data, name=shown)


CASES = [
    *(_named(f"From has a display name {how}", name, shown) for how, (name, shown) in NAMES.items()),
    *(
        _named(f"From has an unquoted display name that {how}", name, shown)
        for how, (name, shown) in UNQUOTED.items()
    ),
    *(
        Trait(f"From has a tag {how}", message(From=f"{URI};tag={tag}" if tag else URI))
        for how, tag in TAGS.items()
    ),
    *(Trait(f"From has a tag with {how}", message(From=f"{URI};tag={tag}")) for how, tag in ODD_TAGS.items()),
    *(Trait(f"From has {how}", message(From=value)) for how, value in FORMS.items()),
    *(Trait(f"To has {how}", message(To=value)) for how, value in TO_FORMS.items()),
    Trait("From has an unterminated quoted string", message(From=f'"Alice {URI};tag=1928'), status=400),
    Trait("From has no closing bracket", message(From="<sip:alice@example.org;tag=1928"), status=400),
    Trait("From has two addresses", message(From=f"{URI}, <sip:eve@example.org>;tag=1928"), status=400),
    Trait("From has two tags", message(From=f"{URI};tag=1;tag=2"), status=400),
    Trait("From has a tel URI", message(From="<tel:+4930123456>;tag=1928"), status=400),
    Trait("From has no user part", message(From="<sip:example.org>;tag=1928"), status=400),
    Trait("From is absent", message(without=["From"]), status=400),
    Trait("From comes twice", message(last=[f"From: {URI};tag=2"]), status=400),
    Trait("To is absent", message(without=["To"]), status=400),
]
