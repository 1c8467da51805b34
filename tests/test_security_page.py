"""The page on security names a test for each line, and the tests exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "security.md").read_text()


def lines() -> list[str]:
    """The rows of the tables that say what holds what back."""
    held_back = PAGE.partition("\n## What holds them back\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (?!attempt|---)(.*) \|$", held_back, re.MULTILINE)
    assert len(rows) > 30
    return rows


def test_each_line_names_a_test_that_is_there() -> None:
    """What no test shows is no promise."""
    wrong = []
    for row in lines():
        named = re.findall(r"`(tests/[\w/]+\.py)(?:::(test_\w+))?`", row.rpartition(" | ")[2])
        if not named:
            wrong.append(row)
        for file, name in named:
            path = ROOT / file
            if not path.exists() or (name and f"def {name}(" not in path.read_text()):
                wrong.append(f"{file}::{name}")
    assert wrong == []


def test_the_settings_it_names_exist() -> None:
    """A limit that was renamed takes the page with it."""
    settings = (ROOT / "docs" / "settings.md").read_text()
    named = set(re.findall(r"`((?:max|destination|digest)_\w+)`", PAGE))
    assert {name for name in named if f"| `{name}` |" not in settings} == set()
