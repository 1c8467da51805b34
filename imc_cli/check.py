"""``imc check``: the effective settings with the source of each, or every mistake in them."""

from __future__ import annotations

import typer

from imc_cli.options import with_settings
from imc_common.settings import Loaded
from imc_common.settings.toml import effective


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(with_settings(check))


def check(loaded: Loaded) -> None:
    """Print the effective settings and where each comes from, as a TOML file; or every mistake at once."""
    typer.echo(effective(loaded))
