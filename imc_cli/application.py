"""All commands of ``imc``, in the groups in which the help shows them.

Each module named here adds its commands with ``register(app)``. Modules import heavy dependencies inside
their commands, so that ``imc --help`` is quick and each process loads only what it needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Final

import typer

GROUPS: Final = {
    "Run": ("up", "processes"),
    "Try": ("chat", "demo"),
    "Watch": ("health", "top", "trace"),
    "Administer": ("check", "mi", "user", "dead", "reshard"),
    "Migrate": ("migrate",),
}
"""The modules of each group of commands."""


def application() -> typer.Typer:
    """The command line with all commands, as a typer application."""
    app = typer.Typer(
        name="imc",
        help="Chat rooms over SIP MESSAGE.",
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,  # they show local variables, including passwords
    )
    app.callback()(_root)
    for title, modules in GROUPS.items():
        for module in modules:
            first_command, first_group = len(app.registered_commands), len(app.registered_groups)
            import_module(f"imc_cli.{module}").register(app)
            for command in app.registered_commands[first_command:]:
                command.rich_help_panel = title
            for group in app.registered_groups[first_group:]:
                group.rich_help_panel = title
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
