"""What users may ask of a history, and owners of their room."""

from __future__ import annotations

import pytest

from imc_common.rooms.spans import shown_at_most, span, wish


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""), ("20", "20"), ("30m", "1800s"), ("2h", "7200s"), ("2H", "7200s"), ("3d", "259200s"),
        ("since 2026-11-28", "@1795824000000"), ("2026-11-28", "@1795824000000"), ("Since 2h", "7200s"),
        ("more", "more"), ("More", "more"),
    ],
)  # fmt: skip
def test_a_span_is_a_number_a_duration_or_a_day(text: str, expected: str) -> None:
    """A day begins at midnight, UTC."""
    assert span(text.split()) == expected


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "-1",
        "2w",
        "since",
        "20 30",
        "2026-13-01",
        "1969-12-31",
        "yesterday",
        "999999",
        "h",
        "since more",
        "more 5",
    ],
)
def test_other_words_are_no_span(text: str) -> None:
    assert span(text.split()) is None


@pytest.mark.parametrize("text", ["off", "OFF", "join", "all", "20", "7d"])
def test_a_wish_is_a_word_a_number_or_days(text: str) -> None:
    assert wish(text) == text.lower()


@pytest.mark.parametrize("text", ["on", "0", "7h", "7", "-7d", "none"])
def test_other_words_are_no_wish(text: str) -> None:
    """A number alone is one of messages."""
    assert wish(text) == (text if text == "7" else None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", 20), ("7", 7), ("200", 100), ("2h", 100), ("since 2026-11-28", 100), ("more", 100)],
)
def test_a_span_shows_a_number_of_messages_at_most(text: str, expected: int) -> None:
    found = span(text.split())
    assert found is not None
    assert shown_at_most(found) == expected
