"""The page on replacing imc_manager() shows the configurations that tests run, and shows them completely."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path

import pytest

from imc_common.settings import Settings

ROOT = Path(__file__).parents[1]
FILES = ROOT / "deploy" / "kamailio"
PAGE = (ROOT / "docs" / "migration.md").read_text()
PROXIES = ("kamailio", "opensips")
BEFORE, AFTER = (
    {proxy: (ROOT / "deploy" / proxy / name).read_text() for proxy in PROXIES}
    for name in ("before.cfg", "after.cfg")
)
SNIPPETS = {proxy: re.findall(rf"```{proxy}\n(.*?)```", PAGE, re.DOTALL) for proxy in PROXIES}
PARAMETERS = (
    *("db_url", "db_mode", "rooms_table", "members_table", "hash_size", "imc_cmd_start_char"),
    *("outbound_proxy", "extra_hdrs", "create_on_join", "check_on_create"),
)
"""All parameters of both modules, from the module's README of Kamailio 5.6 and 6.0 and of OpenSIPS 3.5."""


def changed(proxy: str, sign: str) -> list[str]:
    """The lines that only after.cfg (``+``) or only before.cfg (``-``) has."""
    lines = difflib.ndiff(BEFORE[proxy].splitlines(), AFTER[proxy].splitlines())
    changes = [line[2:] for line in lines if line.startswith(f"{sign} ")]
    return [line for line in changes if line.strip("} ") and not line.startswith("# ")]


@pytest.mark.parametrize(
    ("proxy", "snippet"), [(proxy, each) for proxy in PROXIES for each in SNIPPETS[proxy]]
)
def test_each_snippet_is_a_part_of_a_tested_file(proxy: str, snippet: str) -> None:
    """Nothing on the page is untested."""
    assert snippet in BEFORE[proxy] + AFTER[proxy]


@pytest.mark.parametrize("sign", ["+", "-"])
@pytest.mark.parametrize("proxy", PROXIES)
def test_the_page_names_every_line_to_change(proxy: str, sign: str) -> None:
    """Who makes the changes of the page gets the tested file."""
    shown = "".join(SNIPPETS[proxy]).splitlines()
    assert [line for line in changed(proxy, sign) if line not in shown] == []


@pytest.mark.parametrize(
    "file", [FILES / "imc.toml", FILES / "dispatcher.list", ROOT / "deploy/opensips/dispatcher.sql"]
)
def test_the_other_files_are_shown_as_they_are(file: Path) -> None:
    """The settings and the list of edges."""
    assert f"\n{file.read_text()}```" in PAGE


def test_the_settings_are_valid() -> None:
    """Under the names of the settings model."""
    Settings(**tomllib.loads((FILES / "imc.toml").read_text()))


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_every_parameter_of_the_modules_has_a_row(parameter: str) -> None:
    """With its setting, or with what takes its place."""
    table = PAGE.partition("## Translate the module parameters")[2].partition("\n## ")[0]
    assert re.search(rf"^\|[^|]*`{parameter}`", table, re.MULTILINE)
