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
BEFORE, AFTER = ((FILES / name).read_text() for name in ("before.cfg", "after.cfg"))
SNIPPETS = re.findall(r"```kamailio\n(.*?)```", PAGE, re.DOTALL)
PARAMETERS = (
    *("db_url", "db_mode", "rooms_table", "members_table", "hash_size", "imc_cmd_start_char"),
    *("outbound_proxy", "extra_hdrs", "create_on_join", "check_on_create"),
)
"""All parameters of both modules, from the module's README of Kamailio 5.6 and 6.0 and of OpenSIPS 3.5."""


def changed(sign: str) -> list[str]:
    """The lines that only after.cfg (``+``) or only before.cfg (``-``) has."""
    lines = difflib.ndiff(BEFORE.splitlines(), AFTER.splitlines())
    changes = [line[2:] for line in lines if line.startswith(f"{sign} ")]
    return [line for line in changes if line.strip("} ") and not line.startswith("# ")]


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_each_snippet_is_a_part_of_a_tested_file(snippet: str) -> None:
    """Nothing on the page is untested."""
    assert snippet in BEFORE + AFTER


@pytest.mark.parametrize("sign", ["+", "-"])
def test_the_page_names_every_line_to_change(sign: str) -> None:
    """Who makes the changes of the page gets the tested file."""
    shown = "".join(SNIPPETS).splitlines()
    assert [line for line in changed(sign) if line not in shown] == []


@pytest.mark.parametrize("name", ["imc.toml", "dispatcher.list"])
def test_the_other_files_are_shown_as_they_are(name: str) -> None:
    """The settings and the list of edges."""
    assert f"\n{(FILES / name).read_text()}```" in PAGE


def test_the_settings_are_valid() -> None:
    """Under the names of the settings model."""
    Settings(**tomllib.loads((FILES / "imc.toml").read_text()))


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_every_parameter_of_the_modules_has_a_row(parameter: str) -> None:
    """With its setting, or with what takes its place."""
    table = PAGE.partition("## Translate the module parameters")[2].partition("\n## ")[0]
    assert re.search(rf"^\|[^|]*`{parameter}`", table, re.MULTILINE)
