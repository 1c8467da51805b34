"""The command line: ``imc COMMAND …``. Each module in this package may add commands with ``register(app)``.

Modules import heavy dependencies inside their commands, so that ``imc --help`` is quick and each process
loads only what it needs.
"""

from __future__ import annotations

import pkgutil
import sys
from importlib import import_module
from typing import Annotated

import typer


def application() -> typer.Typer:
    """The command line with all commands, as a typer application."""
    app = typer.Typer(
        name="imc",
        help="Chat rooms over SIP MESSAGE.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,  # they show local variables, including passwords
    )
    app.callback()(_root)
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        register = getattr(import_module(f"{__name__}.{module}"), "register", None)
        if register is not None:
            register(app)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        from imc_common.build_info import build_info  # noqa: PLC0415 # only this option needs it

        version, python, compiled = build_info()
        typer.echo(f"imc {version} (Python {python}, compiled: {compiled})")
        raise typer.Exit


def _root(
    _: Annotated[
        bool,
        typer.Option(
            "--version", "-V", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Chat rooms over SIP MESSAGE."""


def main() -> None:
    """The entry point of the command ``imc``."""
    sys.exit(application()())
