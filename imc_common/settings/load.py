"""Loads settings from a TOML file, the environment and the command line. Later sources win."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from imc_common.errors import ImcError
from imc_common.settings.model import Settings

ENV_PREFIX = "IMC_"
DEFAULT = "default"
ENVIRONMENT = "environment"
COMMAND_LINE = "command line"


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake in the settings: its source, its key, the problem and the allowed values."""

    source: str
    key: str
    problem: str
    allowed: str

    def __str__(self) -> str:
        key = f" {self.key}:" if self.key else ""
        return f"{self.source}:{key} {self.problem}" + (f" (allowed: {self.allowed})" if self.allowed else "")


class SettingsError(ImcError):
    """The settings have mistakes. `mistakes` has all of them."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("\n".join(map(str, mistakes)))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Loaded:
    """The effective settings, the source of each value, and the settings file."""

    settings: Settings
    sources: dict[str, str]
    config: Path | None = None


def load(config: Path | None, env: Mapping[str, str], cli: Mapping[str, Any]) -> Loaded:
    """The settings of a process. Values of `cli` that are None count as not given.

    Raises SettingsError with all mistakes of all sources.
    """
    given: dict[str, Any] = {}
    sources = dict.fromkeys(Settings.model_fields, DEFAULT)
    mistakes: list[Mistake] = []
    layers = [
        (str(config), _read_toml(config, mistakes)),
        (ENVIRONMENT, _read_environment(env, mistakes)),
        (COMMAND_LINE, {name: value for name, value in cli.items() if value is not None}),
    ]
    for source, layer in layers:
        for name, value in layer.items():
            if name in Settings.model_fields:
                given[name] = value
                sources[name] = source
            else:
                mistakes.append(_unknown(source, name))
    try:
        settings = Settings(**given)
    except ValidationError as error:
        mistakes += _wrong_values(error, sources)
        raise SettingsError(mistakes) from None  # the cause would show values, which may be passwords
    if mistakes:
        raise SettingsError(mistakes)
    return Loaded(settings, sources, config)


def allowed(name: str) -> str:
    """The values that a setting accepts, in words."""
    field = Settings.model_fields[name]
    if words := _about(name, "allowed"):
        return words
    if get_origin(field.annotation) is Literal:
        return ", ".join(get_args(field.annotation))
    if field.annotation is bool:
        return "true, false"
    if field.annotation in (int, float):
        return ("a whole number" if field.annotation is int else "a number") + _bounds(field)
    return "a path"


def reload_by(name: str) -> str:
    """The processes that apply a change on SIGHUP: ``edge``, ``worker`` or ``both``; empty: none."""
    return _about(name, "reload")


def _about(name: str, key: str) -> str:
    extra = Settings.model_fields[name].json_schema_extra
    return str(extra.get(key, "")) if isinstance(extra, dict) else ""


def _bounds(field: FieldInfo) -> str:
    least = next((bound.ge for bound in field.metadata if isinstance(bound, Ge)), None)
    most = next((bound.le for bound in field.metadata if isinstance(bound, Le)), None)
    if most is None:
        return "" if least is None else f", at least {least}"
    return f" from {least} to {most}"


def _read_toml(config: Path | None, mistakes: list[Mistake]) -> dict[str, Any]:
    if config is None:
        return {}
    try:
        return tomllib.loads(config.read_text(encoding="utf-8"))
    except OSError as error:
        mistakes.append(Mistake(str(config), "", f"cannot be read: {error.strerror}", ""))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        mistakes.append(Mistake(str(config), "", f"is not TOML: {error}", "lines of `name = value`"))
    return {}


def _read_environment(env: Mapping[str, str], mistakes: list[Mistake]) -> dict[str, str]:
    """Variables that name settings. Others with the prefix are ignored, because container platforms set such
    variables (IMC_PORT_5060_UDP), unless one looks like a misspelt setting."""
    found = {}
    for variable, value in env.items():
        if not variable.startswith(ENV_PREFIX):
            continue
        name = variable[len(ENV_PREFIX) :].lower()
        if name in Settings.model_fields:
            found[name] = value
        elif get_close_matches(name, Settings.model_fields, n=1, cutoff=0.85):
            mistakes.append(_unknown(ENVIRONMENT, name, shown=variable))
    return found


def _unknown(source: str, name: str, shown: str = "") -> Mistake:
    close = get_close_matches(name.lower(), Settings.model_fields, n=1)
    hint = f", did you mean {close[0]}?" if close else ""
    return Mistake(source, shown or name, f"there is no such setting{hint}", "")


def _wrong_values(error: ValidationError, sources: dict[str, str]) -> list[Mistake]:
    mistakes = []
    for fault in error.errors(include_url=False, include_input=False, include_context=False):
        name = str(fault["loc"][0])
        problem = fault["msg"].removeprefix("Value error, ")
        mistakes.append(Mistake(sources[name], name, problem[:1].lower() + problem[1:], allowed(name)))
    return mistakes
