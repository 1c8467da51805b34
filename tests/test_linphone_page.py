"""The page on Linphone shows the configuration that tests run, and shows all that was changed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from imc_common.bodies.resource_lists import MAX_ENTRIES, MAX_SIZE

ROOT = Path(__file__).parents[1]
FILES = ROOT / "deploy" / "kamailio"
PAGE = (ROOT / "docs" / "linphone.md").read_text()
PROXIES = ("kamailio", "opensips")
BEFORE, AFTER = (
    {proxy: (ROOT / "deploy" / proxy / name).read_text() for proxy in PROXIES}
    for name in ("after.cfg", "linphone.cfg")
)
SNIPPETS = {proxy: re.findall(rf"```{proxy}\n(.*?)```", PAGE, re.DOTALL) for proxy in PROXIES}


@pytest.mark.parametrize(
    ("proxy", "snippet"), [(proxy, each) for proxy in PROXIES for each in SNIPPETS[proxy]]
)
def test_each_snippet_is_a_part_of_the_tested_file(proxy: str, snippet: str) -> None:
    """Nothing on the page is untested."""
    assert snippet in AFTER[proxy]


@pytest.mark.parametrize("name", ["tls.cfg", "dispatcher-tls.list"])
def test_the_files_for_tls_are_shown(name: str) -> None:
    """Who copies them from the page gets the tested files."""
    lines = (FILES / name).read_text().splitlines(keepends=True)
    assert "".join(line for line in lines if not line.startswith("#")).strip() in PAGE


@pytest.mark.parametrize("proxy", PROXIES)
def test_the_page_names_every_new_line(proxy: str) -> None:
    """Who makes the changes of the page gets the tested file."""
    shown = "".join(SNIPPETS[proxy]).splitlines()
    before = BEFORE[proxy].splitlines()
    lines = [line for line in AFTER[proxy].splitlines() if line not in before]
    changed = [line for line in lines if line.strip("} ") and not line.startswith("# ")]
    assert [line for line in changed if line not in shown] == []


def test_the_limit_of_a_list_is_the_one_in_the_code() -> None:
    """The number of users in one INVITE, or of rooms in one SUBSCRIBE."""
    assert f"more than {MAX_ENTRIES:,} users or rooms in one list, or {MAX_SIZE:,} bytes" in PAGE
