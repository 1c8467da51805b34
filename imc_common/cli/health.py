"""``imc health``: asks a process of this machine whether it is well; for containers and supervisors."""

from __future__ import annotations

import http.client
from typing import Annotated

import typer

from imc_common.cli.options import with_settings
from imc_common.settings import Loaded
from imc_common.settings.values import host_and_port

SECONDS = 3.0
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 # where all addresses are listened on, ask this one


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(with_settings(health))


def health(
    loaded: Loaded,
    live: Annotated[
        bool, typer.Option("--live", help="Ask whether it lives (/livez), not whether it is ready (/readyz).")
    ] = False,
) -> None:
    """Ask the process at `status_listen` whether it is ready. Exit status 0 if it is, 1 if not, 2 unset."""
    if not loaded.settings.status_listen:
        typer.echo("status_listen is not set: there is nothing to ask", err=True)
        raise typer.Exit(2)
    host, port = host_and_port(loaded.settings.status_listen)
    status, text = ask(_ANY.get(host, host), port, "/livez" if live else "/readyz")
    typer.echo(text, err=status != 200)
    if status != 200:
        raise typer.Exit(1)


def ask(host: str, port: int, path: str) -> tuple[int, str]:
    """Status and text of a process' answer; status 0 if there is none."""
    connection = http.client.HTTPConnection(host, port, timeout=SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read(1000).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return 0, f"no answer from {host}:{port}: {error}"
    finally:
        connection.close()
