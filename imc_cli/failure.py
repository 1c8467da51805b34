"""What a command says when it has failed."""

from __future__ import annotations

from imc_cli.terminal import terminal_safe

_SET_DB_URL = "Set --db-url redis://HOST:PORT/0, IMC_DB_URL, or --config FILE."


def failure_text(error: Exception) -> str:
    """What was wrong, and what to set if no Redis responds, as lines for a terminal."""
    from imc_common.store import StoreUnreachable  # noqa: PLC0415 # loads what few commands need

    text = terminal_safe(str(error))
    return f"Redis is unreachable: {text}. {_SET_DB_URL}" if isinstance(error, StoreUnreachable) else text
