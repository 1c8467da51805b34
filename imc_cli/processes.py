"""``imc edge``, ``imc worker``, ``imc mi-server``: one process each, and how it gets its settings."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

import typer

from imc_cli.options import with_settings
from imc_common.settings import Loaded
from imc_common.settings.load import COMMAND_LINE, ENV_PREFIX


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(with_settings(edge))
    app.command()(with_settings(worker))
    app.command("mi-server")(with_settings(mi_server))


def edge(loaded: Loaded) -> None:
    """Run one edge: takes MESSAGEs from users and delivers to them. Same as python -P -m imc_edge."""
    _become("imc_edge", loaded)


def worker(loaded: Loaded) -> None:
    """Run one worker: carries out what edges took. Same as python -P -m imc_worker."""
    _become("imc_worker", loaded)


def mi_server(loaded: Loaded) -> None:
    """Serve MI at `mi_fifo` and `mi_listen`, beside the workers. Same as python -P -m imc_worker.mi."""
    _become("imc_worker.mi", loaded)


def _become(module: str, loaded: Loaded) -> None:
    """Replace this process, so that signals and exit status are the module's own."""
    os.execve(sys.executable, argv(module, loaded), environment(loaded, os.environ))  # noqa: S606 # no shell


def argv(module: str, loaded: Loaded) -> list[str]:
    """The command of a process, which reads the same file of settings, also again on SIGHUP.

    ``-P`` keeps the working folder off the module path: it may have a ``structlog.py`` of somebody else's.
    Unlike ``-I`` it leaves the operator's ``PYTHON…`` variables in force.
    """
    return [sys.executable, "-P", "-m", module, *(["--config", str(loaded.config)] if loaded.config else [])]


def environment(loaded: Loaded, base: Mapping[str, str], **values: object) -> dict[str, str]:
    """``base`` with what the command line set, and ``values`` above it.

    In the environment, and not among the arguments, a password in ``db_url`` stays out of process lists.
    """
    given = {
        name: getattr(loaded.settings, name)
        for name, source in loaded.sources.items()
        if source == COMMAND_LINE
    }
    return {**base} | {
        ENV_PREFIX + name.upper(): text_of(name, value) for name, value in (given | values).items()
    }


def text_of(name: str, value: object) -> str:
    """A setting as the environment has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ("\n" if name == "extra_hdrs" else ",").join(map(str, value))
    return str(value)
