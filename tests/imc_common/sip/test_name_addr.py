"""Addresses with display name and parameters: From, To, Contact."""

from __future__ import annotations

import pytest
from hypothesis import given

from imc_common.sip import NameAddr
from tests.imc_common.sip.strategies import name_addrs, unhurried


@unhurried
@given(name_addrs())
def test_an_address_survives_printing_and_parsing(text: str) -> None:
    """URI, display name and parameters, with any quoting."""
    value = NameAddr.parse(text)
    assert NameAddr.parse(str(value)) == value


@pytest.mark.parametrize(
    ("text", "name", "uri", "tag"),
    [
        ("sip:a@b.example;tag=1", "", "sip:a@b.example", "1"),
        ("<sip:a@b.example;lr>;TAG=1", "", "sip:a@b.example;lr", "1"),
        ("Bob  the   builder <sip:a@b.example>", "Bob the builder", "sip:a@b.example", None),
        ('"Bob \\"B\\\\" <sip:a@b.example>;tag=x', 'Bob "B\\', "sip:a@b.example", "x"),
        ('"" <sip:a@b.example>', "", "sip:a@b.example", None),
        ('"<sip:evil@x.example>" <sip:a@b.example>', "<sip:evil@x.example>", "sip:a@b.example", None),
        ("<sip:a,b;c?d@b.example>", "", "sip:a,b;c?d@b.example", None),
        ("tel:+1-555;tag=9", "", "tel:+1-555", "9"),
        ('"B" <sip:a@b.example>;x="<>>";tag=7', "B", "sip:a@b.example", "7"),
        ('sip:a@b.example;x="<sip:c@d.example>";tag=8', "", "sip:a@b.example", "8"),
        ('"J\u00fcrgen" <sip:j@b.example> ; tag = 5', "J\u00fcrgen", "sip:j@b.example", "5"),
    ],
)
def test_all_forms_of_an_address_are_parsed(text: str, name: str, uri: str, tag: str | None) -> None:
    """RFC 3261 §20.10: with or without brackets and quotes, parameters of the URI and of the header."""
    value = NameAddr.parse(text)
    assert (value.display_name, str(value.uri), value.tag) == (name, uri, tag)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Bob",
        "<>",
        "<sip:a@b.example",
        "sip:a@b.example>",
        "< sip:a@b.example>",
        "<sip:a@b.example >",
        "<sip:a@b.example><sip:c@d.example>",
        "<sip:a@b.example>, <sip:c@d.example>",
        '"Bob <sip:a@b.example>',
        '"Bob" "Alice" <sip:a@b.example>',
        "Bell, Alexander <sip:a@b.example>",
        "B\u00f6b <sip:a@b.example>",
        "sip:a@b.example?x=y",
        "sip:a@b.example, sip:c@d.example",
        "<sip:a@b.example>;tag=",
        "<sip:a@b.example>;tag=1;tag=2",
        "<sip:a@b.example>;",
        "<sip:a@b.example>;;tag=1",
        '<sip:a@b.example>;tag="1',
        "<sip:a@b.example> tag=1",
        "<sip:a@b.example>\u00a0",
        "<sip:a@b.example>\u2003;tag=1",
        "\u00a0<sip:a@b.example>",
        '<sip:a@b.example>;x=">',
    ],
)
def test_malformed_addresses_are_refused(text: str) -> None:
    """Unbalanced quotes and brackets, blanks inside, names that need quotes, repeated parameters."""
    with pytest.raises(ValueError, match=r"malformed|repeated"):
        NameAddr.parse(text)
