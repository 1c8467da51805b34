"""Every file, script, setting, metric, command and notice that a page names exists."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from imc_common.rooms import texts
from imc_common.settings import Settings, load
from imc_worker.mi.commands import MiCommands
from tests.test_dashboards import defined
from tests.test_docs import GROUPS, full_help

ROOT = Path(__file__).parent.parent
FILES = subprocess.run(
    ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.splitlines()
PAGES = [file for file in FILES if file.endswith(".md")]
NAMES_OF_OTHERS = {
    *("communication_type", "dump.rdb", "redis.conf", "resolv.conf", "results.json"),
    *("auth_check", "auth_db", "db_mode", "is_subscriber", "m_store", "proxy_authorize", "t_replicate"),
    *("use_domain", "db_mysql", "next_edge", "to_edge"),
}
"""Of Kamailio, OpenSIPS, Redis, the system, and of the benchmark's output, which is not in the repository."""
NOT_SETTINGS = {"IMC_REQUIRE_TOOLS"}
"""Variables of the tests."""
each_page = pytest.mark.parametrize("page", PAGES)


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def quoted(page: str) -> set[str]:
    """What stands between backticks in a page, code blocks left out."""
    prose = re.sub(r"^ *```.*?^ *```", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    return set(re.findall(r"`([^`\n]+)`", prose))


@cache
def words_of_the_code() -> frozenset[str]:
    """Every word of the code, without the tests and the pages themselves."""
    code = (
        file for file in FILES if not file.startswith("tests/") and file.endswith((".py", ".lua", ".c", ".h"))
    )
    return frozenset(word for file in code for word in re.findall(r"\w+", text_of(file)))


@each_page
def test_paths_exist(page: str) -> None:
    """A path begins with a folder of the repository; a test in a file is `FILE::TEST`."""
    folders = {file.partition("/")[0] for file in FILES if "/" in file}
    named = {name.partition("::")[0] for name in quoted(page) if name.partition("/")[0] in folders}
    paths = {path for path in named if re.fullmatch(r"[\w./@*-]*/[\w./@*-]*", path)}
    assert [path for path in sorted(paths) if not list(ROOT.glob(path.rstrip("/")))] == []


@pytest.mark.parametrize("package", ["imc_cli", "imc_common", "imc_edge", "imc_worker", "lua"])
def test_files_that_comments_of_the_code_name_exist(package: str) -> None:
    """Scripts, modules and pages, by their paths."""
    named = {
        (path, file)
        for file in FILES
        if file.startswith(f"{package}/") and file.endswith((".py", ".lua"))
        for path in re.findall(r"\b(?:lua|imc_[a-z]+|docs|tests)/[\w/]+\.(?:lua|py|md)\b", text_of(file))
    }
    assert named
    assert sorted((path, file) for path, file in named if not (ROOT / path).exists()) == []


@each_page
def test_file_names_exist(page: str) -> None:
    """A file named without its folder is somewhere in the repository."""
    there = {Path(file).name for file in FILES} | NAMES_OF_OTHERS
    named = {
        name
        for name in quoted(page)
        if re.fullmatch(r"[\w-]+\.(py|lua|toml|yaml|acl|md|json|conf|rdb)", name)
    }
    settings_file = {"imc.toml"}
    assert named - there - settings_file == set()


@each_page
def test_names_occur_in_the_code(page: str) -> None:
    """Scripts, settings, fields, events, reasons: after a renaming, the old name is in no source."""
    named = {name for name in quoted(page) if re.fullmatch(r"(?!imc_)[a-z]+(_[a-z0-9]+)+", name)}
    assert named - words_of_the_code() - NAMES_OF_OTHERS == set()


@each_page
def test_metrics_and_management_commands_exist(page: str) -> None:
    """A name that begins with `imc_` is a metric, a management command, a package or a table."""
    named = {match[1] for name in quoted(page) if (match := re.match(r"(imc_\w+)(\{.*\})?$", name))}
    commands = MiCommands(None, None, None, Settings()).table  # type: ignore[arg-type] # none of them is run
    tables = {Settings().rooms_table, Settings().members_table, Settings().history_table}
    others = {"imc_manager", "imc_cmd_start_char"}  # Kamailio's function, a setting
    metrics = defined() | {name.removesuffix("_bucket") for name in defined()}
    assert named - metrics - commands.keys() - tables - others == set()


@each_page
def test_settings_exist(page: str) -> None:
    """`name = value` in the text, and every variable IMC_NAME, also in code blocks."""
    assigned = {match[1] for name in quoted(page) if (match := re.match(r"([a-z]+_\w+|[a-z]+) = ", name))}
    variables = set(re.findall(r"\bIMC_[A-Z_]+\b", text_of(page))) - NOT_SETTINGS
    named = assigned | {variable.removeprefix("IMC_").lower() for variable in variables}
    assert named - set(Settings.model_fields) - {"name"} == set()


@each_page
def test_values_of_settings_are_allowed(page: str) -> None:
    """`durability = fsync` and the like: a renamed value would not be accepted."""
    for name in sorted(quoted(page) - {"name = value"}):
        if match := re.fullmatch(r"([a-z_]+) = \"?([\w.-]+)\"?", name):
            load(None, {}, {match[1]: match[2]})  # raises SettingsError


@each_page
def test_make_targets_exist(page: str) -> None:
    """Also in code blocks."""
    makefiles = text_of("Makefile") + text_of("bench/Makefile")
    targets = set(re.findall(r"^([a-z-]+):", makefiles, re.MULTILINE))
    shown = quoted(page) | {line.strip() for line in text_of(page).splitlines()}
    named = {match[1] for line in shown if (match := re.match(r"make ([a-z-]+)", line))}
    assert named - targets == set()


@each_page
def test_commands_in_the_text_exist(page: str) -> None:
    """`imc COMMAND` and its options; `tests/test_docs.py` looks at those in code blocks."""
    wrong = []
    for line in sorted(quoted(page)):
        words = line.split()
        if words[0] != "imc" or len(words) == 1:
            continue
        command = [word for word in words[1:3] if re.fullmatch(r"[a-z-]+", word) and word[0] != "-"]
        shown = full_help(*command[: 2 if words[1] in GROUPS else 1])
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        if not shown or any(option not in shown for option in options):
            wrong.append(line)
    assert wrong == []


def test_log_lines_are_those_of_the_code() -> None:
    """The table in docs/operating.md has the events and levels of log calls."""
    section = text_of("docs/operating.md").partition("\n## Read the log\n")[2].partition("\n## ")[0]
    told = set(re.findall(r"^\| `([^`]+)` \| (\w+) \|", section, re.MULTILINE))
    code = "".join(text_of(file) for file in FILES if re.fullmatch(r"imc_(?!cli).*\.py", file))
    logged = {(event, level) for level, event in re.findall(r'log\.(\w+)\(\s*"([^"]+)"', code)}
    assert told
    assert told - logged == set()


def notices() -> list[re.Pattern[str]]:
    """Every text of `imc_common/rooms/texts.py`, as a pattern; a refusal also has the command before it."""
    tables = [table for table in vars(texts).values() if isinstance(table, dict)]
    templates = [text for table in tables for text in table.values() if isinstance(text, str)]
    before = r"(?:#\w+: |Your message was not delivered: )?"
    return [
        re.compile(before + re.sub(r"\\\{\w+\\\}", ".+", re.escape(template)))
        for template in templates
        if " " in template
    ]


@each_page
def test_notices_are_worded_as_the_service_words_them(page: str) -> None:
    """What begins with `*** `, in code blocks and between backticks."""
    shown = re.findall(r"(?:^|`)\*\*\* ([^`\n]+?)`?(?: \|.*)?$", text_of(page), re.MULTILINE)
    assert [line for line in shown if not any(notice.fullmatch(line) for notice in notices())] == []


def test_a_name_that_is_gone_is_found() -> None:
    """These checks would notice a renaming."""
    assert "lua" in {file.partition("/")[0] for file in FILES}
    assert "evict_whenever" not in words_of_the_code()
    assert "room_pattern" in words_of_the_code()
    assert {"max_backlog", "#invite"} <= quoted("docs/receiving.md")
