"""``imc check``: the effective settings with their sources, or all mistakes."""

from __future__ import annotations

import typer

from imc_cli.options import add_command
from imc_common.settings import Loaded
from imc_common.settings.toml import effective


def register(app: typer.Typer) -> None:
    """Add the command."""
    add_command(app, check)


def check(loaded: Loaded) -> None:
    """Print the effective settings with their sources as a TOML file, or all mistakes in them."""
    typer.echo(effective(loaded))
