"""The command line: ``imc COMMAND …``. Each module beside this one adds its commands by ``register(app)``.

Modules import what is heavy inside their commands, so that ``imc --help`` stays quick and no process loads
what another one is for.
"""

from __future__ import annotations

import pkgutil
import sys
from importlib import import_module

import typer


def application() -> typer.Typer:
    """The command line with all commands."""
    app = typer.Typer(
        name="imc",
        help="Chat rooms over SIP MESSAGE.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,  # its frames show local variables, a database password among them
    )
    app.callback()(_root)
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        register = getattr(import_module(f"{__name__}.{module}"), "register", None)
        if register is not None:
            register(app)
    return app


def _root() -> None:
    """Chat rooms over SIP MESSAGE."""


def main() -> None:
    """The entry point of ``imc``."""
    sys.exit(application()())
