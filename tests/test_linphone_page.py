"""The page on Linphone shows the configuration that tests run, and shows all that was changed."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import pytest

from imc_common.bodies.resource_lists import MAX_ENTRIES, MAX_SIZE

ROOT = Path(__file__).parents[1]
FILES = ROOT / "deploy" / "kamailio"
PAGE = (ROOT / "docs" / "linphone.md").read_text()
BEFORE, AFTER = ((FILES / name).read_text() for name in ("after.cfg", "linphone.cfg"))
SNIPPETS = re.findall(r"```kamailio\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_each_snippet_is_a_part_of_the_tested_file(snippet: str) -> None:
    """Nothing for Kamailio is untested."""
    assert snippet in AFTER


@pytest.mark.parametrize("name", ["tls.cfg", "dispatcher-tls.list"])
def test_the_files_for_tls_are_shown(name: str) -> None:
    """Who copies them from the page gets the tested files."""
    lines = (FILES / name).read_text().splitlines(keepends=True)
    assert "".join(line for line in lines if not line.startswith("#")).strip() in PAGE


def test_the_page_names_every_new_line() -> None:
    """Who makes the changes of the page gets the tested file."""
    shown = "".join(SNIPPETS).splitlines()
    lines = [line[2:] for line in difflib.ndiff(BEFORE.splitlines(), AFTER.splitlines()) if line[:2] == "+ "]
    changed = [line for line in lines if line.strip("} ") and not line.startswith("# ")]
    assert [line for line in changed if line not in shown] == []


def test_the_limit_of_a_list_is_the_one_in_the_code() -> None:
    """The number of users in one INVITE, or of rooms in one SUBSCRIBE."""
    assert f"more than {MAX_ENTRIES:,} users or rooms in one list, or {MAX_SIZE:,} bytes" in PAGE
