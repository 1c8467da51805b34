"""All settings as options of a command."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

from imc_common.settings import Loaded, Settings, SettingsError, load, masked
from imc_common.settings.load import COMMAND_LINE

SETTINGS_PANEL = "Settings (also in a settings file, or in the environment as IMC_<NAME>)"


_SHOWN = "imc settings shown"


class CommandWithSettings(TyperCommand):
    """A command whose help has the options of settings only after ``--help-settings``: there are too many."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help. (Typer has its own copy of click's types, or click's, depending on its version.)"""
        for parameter in self.params:
            if isinstance(parameter, TyperOption) and parameter.rich_help_panel == SETTINGS_PANEL:
                parameter.hidden = _SHOWN not in ctx.meta
        super().format_help(ctx, formatter)


def add_command(app: typer.Typer, command: Callable[..., None], name: str | None = None) -> None:
    """Add a command `with_settings` to a group of commands."""
    app.command(name, cls=CommandWithSettings)(with_settings(command))


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Add ``--config`` and an option for each setting to a command, whose first parameter is a `Loaded`.

    If the settings have mistakes, the command does not run: all mistakes are printed and the exit status is
    2.
    """
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    taken = {parameter.name for parameter in own}
    offered = [name for name in Settings.model_fields if name not in taken]

    @wraps(command)
    def run(config: Path | None = None, help_settings: bool = False, **options: Any) -> None:
        cli = {name: options.pop(name) for name in offered}
        try:
            loaded = load(config, os.environ, cli)
        except SettingsError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(2) from None
        _warn_of_a_visible_password(loaded)
        command(loaded, **options)

    parameters = [*own, _config(), _help_settings(), *map(_option, offered)]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # typer reads it
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _warn_of_a_visible_password(loaded: Loaded) -> None:
    """All users of a machine can read the arguments of its processes."""
    url = loaded.settings.db_url
    if loaded.sources["db_url"] == COMMAND_LINE and masked(url) != url:
        typer.echo(
            "The password in --db-url is visible in the process list of this machine."
            " Set db_url in IMC_DB_URL or in a settings file instead.",
            err=True,
        )


def _config() -> inspect.Parameter:
    option = typer.Option("--config", help="Settings file (TOML).")
    return inspect.Parameter(
        "config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[Path | None, option]
    )


def _help_settings() -> inspect.Parameter:
    option = typer.Option(
        "--help-settings",
        callback=_show_settings,
        is_eager=True,
        help="Show this message with all settings, which are options too, and exit.",
    )
    return inspect.Parameter(
        "help_settings", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, option]
    )


def _show_settings(ctx: typer.Context, wanted: bool) -> None:
    if wanted:
        ctx.meta[_SHOWN] = True
        typer.echo(ctx.get_help())
        raise typer.Exit


def _option(name: str) -> inspect.Parameter:
    """The option of a setting. Its value stays text, which `load` parses together with the other sources."""
    option = typer.Option(
        f"--{name.replace('_', '-')}",
        help=Settings.model_fields[name].description,
        metavar="VALUE",
        rich_help_panel=SETTINGS_PANEL,
    )
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, option]
    )
