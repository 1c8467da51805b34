"""The help of commands, and the completion of their names in a shell.

Covers application.py.
"""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner

import imc_cli
from imc_cli.application import GROUPS, application

COMMANDS = ["up", "chat", "demo", "top", "mi", "check", "import", "dead", "dead list", "user add"]


def shown(*words: str, columns: int = 100) -> str:
    """What a command prints, which must succeed."""
    result = CliRunner().invoke(application(), words, env={"COLUMNS": str(columns)})
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_fits_on_a_screen(command: str) -> None:
    """Settings are left out."""
    assert len(shown(*command.split(), "--help").splitlines()) < 40


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_h_is_help(command: str) -> None:
    """As most programs have it."""
    words = command.split()
    assert shown(*words, "-h") == shown(*words, "--help")


def test_the_settings_option_shows_settings_after_the_commands_own_options() -> None:
    """With their descriptions, and with the ways to set them."""
    full = shown("edge", "--help-settings")
    assert full.index("--help-settings") < full.index("IMC_<NAME>") < full.index("--db-url")


def test_every_module_with_commands_is_in_a_group() -> None:
    """Otherwise its commands would not exist."""
    names = {info.name for info in pkgutil.iter_modules(imc_cli.__path__)} - {"__main__"}
    found = {name for name in names if hasattr(import_module(f"imc_cli.{name}"), "register")}
    assert found == {module for modules in GROUPS.values() for module in modules}


def test_the_help_shows_the_commands_in_their_groups() -> None:
    """In the order in which a reader needs them."""
    text = shown("--help")
    assert [text.index(f"─ {title} ─") for title in GROUPS] == sorted(text.index(f"─ {t} ─") for t in GROUPS)
    assert text.index("─ Run ─") < text.index("│ edge ") < text.index("─ Try ─") < text.index("│ chat ")


@pytest.mark.parametrize(
    ("shell", "typed", "offered"),
    [
        ("bash", "imc dea", {"dead"}),
        ("bash", "imc dead ", {"list", "show", "retry", "drop"}),
        ("bash", "imc chat --ro", {"--room"}),
        ("bash", "imc edge --db-", {"--db-url"}),
        ("zsh", "imc edge --db-", {"--db-url"}),
        ("fish", "imc edge --db-", {"--db-url"}),
    ],
)
def test_shells_complete_commands_and_options(shell: str, typed: str, offered: set[str]) -> None:
    """With the script that `imc --show-completion` prints; options of settings too."""
    words = typed.split(" ")
    given = {
        "_IMC_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(words) - 1),
        "_TYPER_COMPLETE_ARGS": typed,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    imc = Path(sys.executable).with_name("imc")
    done = subprocess.run([imc], env={**os.environ, **given}, capture_output=True, text=True, check=False)
    assert {word for word in offered if word in done.stdout} == offered, done.stdout + done.stderr
