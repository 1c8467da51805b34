"""``imc --version``, and what `imc_cli/__init__.py` does without a command."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from imc_cli.application import application
from imc_common.build_info import build_info


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_the_version_is_shown_with_the_interpreter(option: str) -> None:
    """One line that belongs into every bug report."""
    shown = CliRunner().invoke(application(), [option])
    assert shown.exit_code == 0
    version, python, compiled = build_info()
    assert shown.stdout == f"imc {version} (Python {python}, compiled: {compiled})\n"


def test_no_command_shows_the_help() -> None:
    """All commands with one line each."""
    shown = CliRunner().invoke(application(), [])
    assert "Usage: imc" in shown.output
    assert "edge" in shown.output
