"""Writes settings as TOML."""

from __future__ import annotations

import json
from pathlib import Path

from imc_common.settings.load import Loaded
from imc_common.settings.model import Settings
from imc_common.settings.values import shown


def effective(loaded: Loaded) -> str:
    """All settings, one in each line, with their sources. Passwords are masked."""
    lines = [f"{name} = {written(name, getattr(loaded.settings, name))}" for name in Settings.model_fields]
    width = min(max(map(len, lines)), 60)
    return "\n".join(
        f"{line:<{width}}  # {loaded.sources[name]}"
        for name, line in zip(Settings.model_fields, lines, strict=True)
    )


def written(name: str, value: object) -> str:
    """One value in TOML syntax. Passwords are masked."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Path):
        return _text(str(value))
    if isinstance(value, str):
        return _text(str(shown(name, value)))
    assert isinstance(value, tuple)  # noqa: S101 # all other settings are lists
    return "[" + ", ".join(_text(str(item)) for item in value) + "]"


def _text(value: str) -> str:
    """A TOML basic string: a JSON string in which DEL is escaped as well."""
    return json.dumps(value).replace("\x7f", "\\u007f")
