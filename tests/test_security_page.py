"""docs/security.md names tests for each threat, and the tests exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "security.md").read_text()


def lines() -> list[str]:
    """The rows of the tables of threats and defences."""
    held_back = PAGE.partition("\n## What stops each attempt\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (?!attempt|---)(.*) \|$", held_back, re.MULTILINE)
    assert len(rows) > 30
    return rows


def is_a_test(named: str) -> bool:
    """Whether ``named`` is FILE::TEST and the test exists. A file alone does not count."""
    file, _, name = named.partition("::")
    path = ROOT / file
    return name.startswith("test_") and path.is_file() and f"def {name}(" in path.read_text()


def test_every_threat_names_existing_tests() -> None:
    """A defence that no test shows is only a claim."""
    wrong = []
    for row in lines():
        named = re.findall(r"`([^`]*)`", row.rpartition(" | ")[2])
        if not named:
            wrong.append(row)
        wrong += [name for name in named if not is_a_test(name)]
    assert wrong == []


def test_a_file_or_a_renamed_test_does_not_count_as_a_test() -> None:
    """Only FILE::TEST with an existing test does."""
    here = "tests/test_security_page.py"
    assert is_a_test(f"{here}::test_a_file_or_a_renamed_test_does_not_count_as_a_test")
    assert not [
        named for named in (here, f"{here}::test_gone", "tests/gone.py::test_gone") if is_a_test(named)
    ]


def test_every_setting_that_the_security_page_names_exists() -> None:
    """The page has to follow when a limit is renamed."""
    settings = (ROOT / "docs" / "settings.md").read_text()
    named = set(re.findall(r"`((?:max|destination|digest)_\w+)`", PAGE))
    assert {name for name in named if f"| `{name}` |" not in settings} == set()
