"""The settings as options: each command that starts or asks something takes all of them."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from imc_common.settings import Loaded, Settings, SettingsError, load, masked
from imc_common.settings.load import COMMAND_LINE

_PANEL = "Settings (also in the file, and in the environment as IMC_<NAME>)"


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, whose first parameter is a `Loaded`, an option for each setting and ``--config``.

    With a mistake in the settings the command is not run: all mistakes are printed and the exit status is 2.
    """
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    taken = {parameter.name for parameter in own}
    offered = [name for name in Settings.model_fields if name not in taken]

    @wraps(command)
    def run(config: Path | None = None, **options: Any) -> None:
        cli = {name: options.pop(name) for name in offered}
        try:
            loaded = load(config, os.environ, cli)
        except SettingsError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(2) from None
        _warn_of_a_seen_password(loaded)
        command(loaded, **options)

    parameters = [*own, _config(), *map(_option, offered)]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # what typer reads
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _warn_of_a_seen_password(loaded: Loaded) -> None:
    """Arguments stand in the list of processes for everybody to read."""
    url = loaded.settings.db_url
    if loaded.sources["db_url"] == COMMAND_LINE and masked(url) != url:
        typer.echo(
            "The password in --db-url can be read by everybody on this machine while this runs;"
            " put db_url into IMC_DB_URL or a file instead.",
            err=True,
        )


def _config() -> inspect.Parameter:
    option = typer.Option("--config", help="TOML file of settings.", rich_help_panel=_PANEL)
    return inspect.Parameter(
        "config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[Path | None, option]
    )


def _option(name: str) -> inspect.Parameter:
    """A setting's option. It stays text here: it is read, and its mistakes are told, with the others."""
    option = typer.Option(
        f"--{name.replace('_', '-')}",
        help=Settings.model_fields[name].description,
        metavar="VALUE",
        rich_help_panel=_PANEL,
    )
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, option]
    )
