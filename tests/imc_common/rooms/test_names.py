"""Names that people choose: which are shown, and that none passes for an address."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imc_common.rooms.names import MAX_NAME, nickname, shown_name


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Alice", "Alice"),
        ("  Alice \t van  Dyk ", "Alice van Dyk"),
        ("Jürgen O'Brien-Smith, Jr.", "Jürgen O'Brien-Smith, Jr."),
        ("Alice\r\n\u2028Bob\u00a0", "Alice Bob"),
        ("山田太郎", "山田太郎"),
        ("\uff21\uff4c\uff49\uff43\uff45", "Alice"),
        ("Alice 🎈", "Alice 🎈"),
        ("A" * 40, "A" * 29 + "..."),
    ],
)
def test_a_usual_name_is_shown(text: str, shown: str) -> None:
    """In any script, with single spaces, cut to a bounded length."""
    assert shown_name(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "bob@example.org", "bob\uff20example.org", "bob\ufe6bexample.org", "sip:bob", "Bob <bob", "a>: b",
        "*** Alice has left", "\uff0a\uff0a\uff0a Alice", "#help", "Bob (owner)", 'Bob"', "Bob\\",
        "+49 151 12345678", "007", "…", "🎈", "", " ",
        "Alice\x00", "\u202eecilA", "Al\u200bice", "\u3164", "\u2800", "\ud800a",
        "A" * 300,
    ],
)  # fmt: skip
def test_a_name_that_could_mislead_is_not_shown(text: str) -> None:
    """Addresses, telephone numbers, notices, prefixes, and what a reader cannot see."""
    assert shown_name(text) == ""


@pytest.mark.parametrize("text", ["Al", "al-2", "Jürgen", "山田", "A" * 32, "A\u0308l"])
def test_a_nickname_is_one_word(text: str) -> None:
    """In any script; characters are composed."""
    assert nickname(text) == text.replace("A\u0308", "\u00c4")


@pytest.mark.parametrize(
    "text", ["", "Al Green", "A" * 33, "bob@example.org", "007", "***", " Al", "Al|x", "a:b"]
)
def test_a_nickname_that_could_mislead_is_none(text: str) -> None:
    """The same rules as for display names, but nothing is cut."""
    assert nickname(text) == ""


@given(st.text())
def test_no_name_has_a_part_of_an_address_or_an_invisible_character(text: str) -> None:
    """Whatever is sent."""
    name = shown_name(text)
    assert len(name) <= MAX_NAME
    assert name == "" or name.isprintable()
    assert not set(name) & set('@<>:*"\\|#()')


def test_a_long_name_is_not_remembered() -> None:
    """What is remembered stays small, whatever names users choose."""
    tracemalloc.start()
    try:
        for number in range(500):
            assert shown_name(f"{number} {'x' * 20_000}") == ""
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1_000_000
