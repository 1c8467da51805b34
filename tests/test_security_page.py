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


def is_a_test(named: str) -> bool:
    """One test in its file; a whole file would still be there when the test is not."""
    file, _, name = named.partition("::")
    path = ROOT / file
    return name.startswith("test_") and path.is_file() and f"def {name}(" in path.read_text()


def test_each_line_names_a_test_that_is_there() -> None:
    """What no test shows is no promise."""
    wrong = []
    for row in lines():
        named = re.findall(r"`([^`]*)`", row.rpartition(" | ")[2])
        if not named:
            wrong.append(row)
        wrong += [name for name in named if not is_a_test(name)]
    assert wrong == []


def test_a_whole_file_is_no_test() -> None:
    """Nor is a test that was renamed."""
    here = "tests/test_security_page.py"
    assert is_a_test(f"{here}::test_a_whole_file_is_no_test")
    assert not [
        named for named in (here, f"{here}::test_gone", "tests/gone.py::test_gone") if is_a_test(named)
    ]


def test_the_settings_it_names_exist() -> None:
    """A limit that was renamed takes the page with it."""
    settings = (ROOT / "docs" / "settings.md").read_text()
    named = set(re.findall(r"`((?:max|destination|digest)_\w+)`", PAGE))
    assert {name for name in named if f"| `{name}` |" not in settings} == set()
