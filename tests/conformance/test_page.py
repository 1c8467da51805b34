from __future__ import annotations

from tests.conformance.page import PAGE, filled, tables


def test_the_page_says_what_the_tests_check() -> None:
    """docs/conformance.md has every message, with the answers that the tests here hold an edge to."""
    text = PAGE.read_text()
    assert filled(text) == text
    for name, table in tables().items():
        assert table in text, name
