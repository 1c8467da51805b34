"""docs/reliability.md names a test for each failure, and the tests exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "reliability.md").read_text()


def test_every_test_that_the_reliability_page_names_exists() -> None:
    """The page has to follow when a test is renamed or removed."""
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(test_\w+))?`", PAGE)
    assert len(named) > 30
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (ROOT / file).exists() or (name and f"def {name}(" not in (ROOT / file).read_text())
    ]
    assert missing == []


def test_every_failure_names_tests_and_not_only_files() -> None:
    """A file may still exist when the test is gone."""
    table = PAGE.partition("\n## Each failure and its test\n")[2]
    rows = re.findall(r"^\| (?!failure|---)(.*) \|$", table, re.MULTILINE)
    assert len(rows) > 30
    shown_by = [row.rpartition(" | ")[2] for row in rows]
    by_the_checker = "the checker: *misdirected*, in every run"
    vague = [
        shown
        for shown in shown_by
        if shown != by_the_checker
        and (not (named := re.findall(r"`([^`]*)`", shown)) or not all("::test_" in each for each in named))
    ]
    assert vague == []
