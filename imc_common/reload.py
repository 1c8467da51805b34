"""SIGHUP: a process reads its settings again. Some take effect at once, others need a restart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple, Protocol

import structlog

from imc_common import logs
from imc_common.settings.load import SettingsError, reload_by
from imc_common.settings.model import Settings

Role = Literal["edge", "worker"]

RELOADABLE: Final[dict[Role, frozenset[str]]] = {
    role: frozenset(name for name in Settings.model_fields if reload_by(name) in (role, "both"))
    for role in ("edge", "worker")
}
"""The settings that a process of each role changes while it runs, as `Settings` declares them."""
_CHECKED_BY_MI: Final = frozenset({"domains", "manager", "room_pattern"})
"""Workers use these for MI commands, with the values of their start."""
_UNUSED: Final[dict[Role, frozenset[str]]] = {
    "edge": RELOADABLE["worker"] - RELOADABLE["edge"],
    "worker": RELOADABLE["edge"] - RELOADABLE["worker"] - _CHECKED_BY_MI | {"digest_key_file"},
}
"""Settings that a process of each role does not use: a change needs neither a reload nor a restart."""

log = structlog.get_logger()


class Reloadable(Protocol):
    """A part of a process that accepts new settings."""

    def reload(self, settings: Settings) -> None:
        """Use these settings from now on."""
        ...


class ReloadPlan(NamedTuple):
    """The result of a reload."""

    settings: Settings
    """The settings to use from now on."""
    changed: tuple[str, ...]
    """Names of the settings that changed."""
    restart: tuple[str, ...]
    """Names of the settings that differ in the file but need a restart."""


def plan(now: Settings, wanted: Settings, role: Role) -> ReloadPlan:
    """How a process of this role gets from its settings to the wanted ones without a restart."""
    differ = [name for name in Settings.model_fields if getattr(now, name) != getattr(wanted, name)]
    changed = tuple(name for name in differ if name in RELOADABLE[role])
    restart = tuple(name for name in differ if name not in RELOADABLE[role] | _UNUSED[role])
    settings = now.model_copy(update={name: getattr(wanted, name) for name in changed})
    return ReloadPlan(settings, changed, restart)


def reload(now: Settings, read: Callable[[], Settings], role: Role, parts: Sequence[Reloadable]) -> Settings:
    """Read the settings again, pass what may change to the parts, and log the result.

    Returns the settings to use from now on. If the new ones have a mistake, these are the old ones.
    """
    try:
        wanted = read()
    except SettingsError as error:
        log.error("settings not reloaded", mistakes=[str(each) for each in error.mistakes])  # noqa: TRY400 # the mistakes say it all
        return now
    settings, changed, restart = plan(now, wanted, role)
    if changed:
        if not {"log_level", "log_format"}.isdisjoint(changed):
            logs.configure(settings)
        for part in parts:
            part.reload(settings)
    log.info("settings reloaded", changed=list(changed))
    if restart:
        log.warning("settings need a restart", settings=list(restart))
    return settings
