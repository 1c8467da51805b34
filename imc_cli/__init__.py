"""The command line: ``imc COMMAND …``."""

from __future__ import annotations

import sys


def main() -> None:
    """The entry point of the command ``imc``. Ctrl-C ends it without a traceback, also during its imports."""
    try:
        from imc_cli.application import application  # noqa: PLC0415 # takes a third of a second

        sys.exit(application()())
    except KeyboardInterrupt:
        sys.exit(128 + 2)  # as a shell reports SIGINT
