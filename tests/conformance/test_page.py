"""The tables of docs/conformance.md are generated from the cases."""

from __future__ import annotations

from tests.conformance.page import PAGE, filled, tables


def test_the_conformance_page_is_up_to_date() -> None:
    """docs/conformance.md lists every torture message with the responses that these tests expect."""
    text = PAGE.read_text()
    assert filled(text) == text
    for name, table in tables().items():
        assert table in text, name
