"""HOST:PORT as people type it."""

from __future__ import annotations

import re

import typer

from imc_common.sip.ports import SIP_PORT

_ENDPOINT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?").fullmatch


def endpoint(text: str) -> tuple[str, int]:
    """Host, without brackets, and port (5060 if none is given). Raises typer.BadParameter."""
    match = _ENDPOINT(text)
    port = int(match[2] or SIP_PORT) if match else 0
    if match is None or not 0 < port < 65536:
        raise typer.BadParameter(f"{text!r} is not HOST:PORT")
    return match[1].strip("[]"), port
