"""Header fields and their names. Also covers header_names.py."""

from __future__ import annotations

from imc_common.sip import Headers


def test_headers_are_found_by_any_case_long_or_compact() -> None:
    """RFC 3261 §7.3.1 and §7.3.3."""
    headers = Headers([("v", "1"), ("VIA", "2"), ("x-mine", "3"), ("X-Mine", "4")])
    assert headers.get("Via") == headers.get("v") == headers.get("via") == "1"
    assert headers.get_all("vIa") == ["1", "2"]
    assert headers.get_all("X-MINE") == ["3", "4"]
    assert headers.get_all("To") == []
    assert headers.get("To") is None
    assert "x-MINE" in headers
    assert "To" not in headers


def test_known_names_are_printed_as_in_the_rfcs_and_others_unchanged() -> None:
    """Some peers accept only the spelling of the RFCs."""
    headers = Headers([("call-id", "1"), ("l", "0"), ("x-Odd", "y")])
    assert str(headers) == "Call-ID: 1\r\nContent-Length: 0\r\nx-Odd: y\r\n"
    assert [name for name, _ in headers] == ["Call-ID", "Content-Length", "x-Odd"]
    assert len(headers) == 3


def test_headers_are_equal_by_content_and_order() -> None:
    """The order of fields with the same name has a meaning."""
    one, other = Headers([("a", "1"), ("To", "2")]), Headers([("To", "2"), ("a", "1")])
    assert one != other
    assert one == Headers([("a", "1"), ("t", "2")])
    assert hash(one) == hash(Headers([("a", "1"), ("t", "2")]))
    assert one != "Accept-Contact: 1"
    assert repr(other) == "Headers([('To', '2'), ('Accept-Contact', '1')])"
