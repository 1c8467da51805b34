"""``imc health``: checks a process on this machine, for containers and supervisors."""

from __future__ import annotations

from typing import Annotated

import typer

from imc_cli.options import add_command
from imc_common.probe import ask
from imc_common.settings import Loaded
from imc_common.settings.values import host_and_port


def register(app: typer.Typer) -> None:
    """Add the command."""
    add_command(app, health)


def health(
    loaded: Loaded,
    live: Annotated[
        bool, typer.Option("--live", help="Check whether it is live (/livez) instead of ready (/readyz).")
    ] = False,
) -> None:
    """Check whether the process at `status_listen` is ready. Exit status: 0 yes, 1 no, 2 not set."""
    if not loaded.settings.status_listen:
        typer.echo("status_listen is not set. Set --status-listen HOST:PORT", err=True)
        raise typer.Exit(2)
    host, port = host_and_port(loaded.settings.status_listen)
    status, text = ask(host, port, "/livez" if live else "/readyz")
    typer.echo(text, err=status != 200)
    if status != 200:
        raise typer.Exit(1)
