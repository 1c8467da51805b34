"""Links, paths and commands in the pages exist; the packages import each other as documented."""

from __future__ import annotations

import ast
import re
import shlex
from functools import cache
from pathlib import Path

import pytest
from typer.testing import CliRunner

from imc_cli.application import application

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path for path in (*ROOT.glob("*.md"), *ROOT.glob("*/*.md")) if not path.is_relative_to(ROOT / ".venv")
)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    """Every relative link in a page leads to a file of the repository."""
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def shown_commands() -> list[str]:
    """Each `imc …` line in the shell blocks of all pages."""
    lines = []
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL):
            lines += re.findall(r"^(?:\.venv/bin/)?(imc [^#\n]*)", block.replace("\\\n", " "), re.MULTILINE)
    return lines


@cache
def full_help(*command: str) -> str:
    """The help of a command with its settings, if it has any; empty if there is no such command."""
    for option in ("--help-settings", "--help"):
        shown = CliRunner().invoke(application(), [*command, option], env={"COLUMNS": "250"})
        if shown.exit_code == 0:
            return shown.stdout
    return ""


@pytest.mark.parametrize("line", shown_commands())
def test_shown_commands_and_their_options_exist(line: str) -> None:
    """Each command of the pages has help, and the help has each option shown."""
    words = shlex.split(line)[1:]
    command = [word for word in words[:2] if re.fullmatch(r"[a-z-]+", word)][: 2 if words[0] in GROUPS else 1]
    shown = full_help(*command)
    assert shown, line
    options = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert [option for option in options if option not in shown] == []


GROUPS = {"dead", "user"}
"""Commands that have subcommands."""


def test_the_makefile_has_the_targets_that_the_readme_names() -> None:
    """`make run` and `make test`."""
    makefile = (ROOT / "Makefile").read_text()
    readme = (ROOT / "README.md").read_text()
    for target in ("run", "test"):
        assert f"make {target}" in readme
        assert re.search(rf"^{target}: ", makefile, re.MULTILINE)


def test_paths_in_the_architecture_page_exist() -> None:
    """The page has to follow when a module moves."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    paths = re.findall(r"`((?:imc_\w+|lua|tests)/[\w/.]*)`", text)
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_edges_and_workers_do_not_import_each_other() -> None:
    """They share only imc_common, which imports neither."""
    assert imports("imc_edge", "imc_worker") == []
    assert imports("imc_worker", "imc_edge") == []
    assert imports("imc_common", "imc_edge", "imc_worker") == []


def test_receiving_and_delivering_do_not_import_each_other() -> None:
    """The two directions of an edge share what is at the top of imc_edge, and meet in the launcher."""
    assert imports("imc_edge/receiving", "imc_edge.delivering") == []
    assert imports("imc_edge/delivering", "imc_edge.receiving") == []
    assert imports("imc_edge/identity", "imc_edge.receiving", "imc_edge.delivering") == []
    assert imports("imc_edge/receiving", "imc_edge.identity") != [], "imports() finds what there is"


def imports(folder: str, *packages: str) -> list[str]:
    """Every import of one of the packages by a module under the folder, whichever way it is written."""
    found = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
            found += [
                f"{path}: {name}"
                for name in names
                if any(f"{name}.".startswith(f"{package}.") for package in packages)
            ]
    return found


MAX_WORDS = 30


def sentences(page: Path) -> list[str]:
    """The sentences outside code blocks, tables and headings. A colon ends one, too: a list may follow."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^(?:\||#|<|!\[).*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"`[^`]*`", "CODE", re.sub(r"\]\([^)]*\)", "]", text))
    paragraphs = re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", text)
    return [
        sentence
        for each in paragraphs
        for sentence in re.split(r"(?<=[.!?:])\W*\s\W*", " ".join(each.split()))
    ]


def too_long(page: Path) -> list[str]:
    """The sentences of a page that have more than `MAX_WORDS` words."""
    return [each for each in sentences(page) if len(re.findall(r"\w\S*", each)) > MAX_WORDS]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_sentences_are_short(page: Path) -> None:
    """Many readers are not native speakers: one thought per sentence."""
    assert too_long(page) == []


def test_long_sentences_are_found(tmp_path: Path) -> None:
    """Also in a list and over several lines, but not in code blocks, tables and headings."""
    page = tmp_path / "page.md"
    half = "word " * 16
    elsewhere = f"# {half * 2}\n\n```sh\n{half * 2}\n```\n\n| {half * 2} |\n\n"
    page.write_text(f"{elsewhere}{half}. {half}: {half}\n\n- {half}\n{half}.\n")
    assert len(too_long(page)) == 1
