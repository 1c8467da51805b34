"""``imc edge``, ``imc worker``, ``imc mi-server``: run one process with the settings of the command line."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping

import typer

from imc_cli.options import add_command
from imc_common.settings import Loaded
from imc_common.settings.load import COMMAND_LINE, ENV_PREFIX


def register(app: typer.Typer) -> None:
    """Add the commands."""
    add_command(app, edge)
    add_command(app, worker)
    add_command(app, mi_server, "mi-server")


def edge(loaded: Loaded) -> None:
    """Run one edge, which exchanges MESSAGEs with users. Same as python -P -m imc_edge."""
    _become("imc_edge", loaded)


def worker(loaded: Loaded) -> None:
    """Run one worker, which handles requests in rooms. Same as python -P -m imc_worker."""
    _become("imc_worker", loaded)


def mi_server(loaded: Loaded) -> None:
    """Serve MI at `mi_fifo` and `mi_listen` in a process of its own. Same as python -P -m imc_worker.mi."""
    _become("imc_worker.mi", loaded)


def _become(module: str, loaded: Loaded) -> None:
    """Replace this process, so that signals and exit status are those of the module.

    Ctrl-C waits, blocked, until the module has imported everything and handles it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.execve(sys.executable, argv(module, loaded), environment(loaded, os.environ))  # noqa: S606 # without a shell


def argv(module: str, loaded: Loaded) -> list[str]:
    """The command of a process that reads the same settings file, also again on SIGHUP.

    ``-P`` keeps the working folder out of the module path, because it may contain a foreign
    ``structlog.py``. Unlike ``-I`` it does not ignore the operator's ``PYTHON…`` variables.
    """
    return [sys.executable, "-P", "-m", module, *(["--config", str(loaded.config)] if loaded.config else [])]


def environment(loaded: Loaded, base: Mapping[str, str], **values: object) -> dict[str, str]:
    """``base`` with the settings of the command line, overridden by ``values``.

    Passed in the environment, a password in ``db_url`` is not visible in process lists, unlike in arguments.
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
    """The value of a setting for the environment."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ("\n" if name == "extra_hdrs" else ",").join(map(str, value))
    return str(value)
