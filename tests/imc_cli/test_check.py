"""`imc check`, and the settings as options of every command. Also covers options.py."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner, Result

from imc_cli import main
from imc_cli.application import application
from imc_cli.options import add_command
from imc_common.settings import Loaded, Settings


def imc(*args: str, env: dict[str, str] | None = None) -> Result:
    """Run the command line with these arguments."""
    return CliRunner().invoke(application(), args, env=env)


def test_imc_check_prints_each_setting_with_its_source(tmp_path: Path) -> None:
    """As TOML that can be used as a file. Passwords are masked."""
    config = tmp_path / "imc.toml"
    config.write_text('db_url = "redis://u:secret@h"\n')
    env = {"IMC_MANAGER": "boss"}
    result = imc("check", "--config", str(config), "--hash-size", "5", env=env)
    assert result.exit_code == 0, result.output
    values = tomllib.loads(result.stdout)
    assert set(values) == set(Settings.model_fields)
    assert (values["hash_size"], values["manager"], values["db_url"]) == (5, "boss", "redis://u:***@h")
    sources = {line.split(" = ")[0]: line.rpartition("# ")[2] for line in result.stdout.splitlines()}
    shown = [sources[name] for name in ("hash_size", "manager", "db_url", "listen")]
    assert shown == ["command line", "environment", str(config), "default"]


def test_imc_check_prints_all_mistakes_and_fails(tmp_path: Path) -> None:
    """The exit status is 2, and standard output is empty."""
    config = tmp_path / "imc.toml"
    config.write_text("hashsize = 4\nmax_body = 0\n")
    result = imc("check", "--config", str(config), "--listen", "x")
    assert result.exit_code == 2
    assert result.stdout == ""
    keys = {line.split(": ")[1] for line in result.stderr.splitlines()}
    assert keys == {"hashsize", "max_body", "listen"}


def test_every_setting_is_an_option() -> None:
    """Each can be set without a file. There are many, so only `--help-settings` shows them."""
    full, short = [
        CliRunner().invoke(application(), ["check", option], env={"COLUMNS": "200"}).stdout
        for option in ("--help-settings", "--help")
    ]
    for name in Settings.model_fields:
        assert f"--{name.replace('_', '-')}" in full
        assert f"--{name.replace('_', '-')} " not in short
    assert "--config" in short
    assert "--help-settings" in short


def test_a_command_keeps_its_own_parameters() -> None:
    """They replace settings of the same name."""
    app = typer.Typer()

    def run(loaded: Loaded, word: str, manager: Annotated[bool, typer.Option()] = False) -> None:
        """Say it."""
        typer.echo(f"{word} {manager} {loaded.settings.hash_size}")

    add_command(app, run)
    result = CliRunner().invoke(app, ["hello", "--manager", "--hash-size", "1"])
    assert result.output == "hello True 1\n"


def test_main_runs_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The installed `imc` calls it."""
    monkeypatch.setattr("sys.argv", ["imc", "--help"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0
    assert "check" in capsys.readouterr().out
