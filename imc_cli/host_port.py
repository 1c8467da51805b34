"""Parses HOST:PORT on the command line."""

from __future__ import annotations

import re

import typer

from imc_common.sip.ports import SIP_PORT

_ENDPOINT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?").fullmatch


def host_port(text: str, *, any_port: bool = False) -> tuple[str, int]:
    """Host, without brackets, and port (default 5060). Raises typer.BadParameter.

    ``any_port``: the port may be 0, which stands for a free one.
    """
    match = _ENDPOINT(text)
    port = int(match[2] or SIP_PORT) if match else -1
    if match is None or not (0 if any_port else 1) <= port < 65536:
        raise typer.BadParameter(f"{text!r} is not HOST:PORT")
    return match[1].strip("[]"), port
