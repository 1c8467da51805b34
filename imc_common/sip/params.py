"""Parameters of header values: ``;name=value`` (RFC 3261 §7.3.1 and §25.1, ``generic-param``)."""

from __future__ import annotations

import re

from imc_common.sip.grammar import PARAM

Params = tuple[tuple[str, str | None], ...]
"""Names in lower case; values as received, with their quotes; None for a parameter without ``=``."""

_match = PARAM.match
# Nearly all parameters are tokens without blanks: one match checks them all, then the text is split.
_plain = re.compile(r"(?>(?:;[A-Za-z0-9\-.!%*_+`'~]++(?>(?:=[A-Za-z0-9\-.!%*_+`'~\[\]:]++)?))+)").fullmatch


def parse_params(text: str) -> Params:
    """Parse a text of parameters only. Raises ValueError, also for a repeated name."""
    if not text.strip(" \t"):
        return ()
    found: dict[str, str | None] = {}
    if _plain(text):
        parts = text.split(";")
        del parts[0]
        for part in parts:
            name, equals, value = part.partition("=")
            found[name.lower()] = value if equals else None
        if len(found) != len(parts):
            raise ValueError("repeated parameter")
        return tuple(found.items())
    position, end = 0, len(text)
    while position < end:
        match = _match(text, position)
        if match is None:
            raise ValueError("malformed parameter")
        name = match[1].lower()
        if name in found:
            raise ValueError("repeated parameter")
        found[name] = match[2]
        position = match.end()
    return tuple(found.items())


def print_params(params: Params) -> str:
    """The parameters as text, each with its semicolon."""
    return "".join([f";{name}" if value is None else f";{name}={value}" for name, value in params])


def find(params: Params, name: str) -> str | None:
    """The value of a parameter; None if it is missing or has no value. ``name`` in lower case."""
    for key, value in params:
        if key == name:
            return value
    return None


def has(params: Params, name: str) -> bool:
    """Whether the parameter is present, with or without a value. ``name`` in lower case."""
    for key, _ in params:  # noqa: SIM110 # a generator costs more than the loop
        if key == name:
            return True
    return False
