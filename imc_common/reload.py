"""Settings read again while a process runs (SIGHUP): what takes effect at once, and what needs a restart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple, Protocol

import structlog

from imc_common import logs
from imc_common.settings.load import SettingsError
from imc_common.settings.model import Settings

Role = Literal["edge", "worker"]

LOGS: Final = frozenset({"log_level", "log_format"})
USER_LIMITS: Final = frozenset(
    {"max_requests_per_source", "max_messages_per_second", "max_message_burst", "max_commands_per_minute"}
    | {"max_invitations_per_hour", "max_invitations_per_target", "max_total_messages_per_second"}
    | {"max_deliveries_per_second"}
)
LIVE: Final[dict[Role, frozenset[str]]] = {
    "edge": LOGS
    | USER_LIMITS
    | {"accept_types", "domains", "extra_hdrs", "identity", "imc_cmd_start_char", "manager", "max_backlog"}
    | {"max_in_flight", "recipient_queue", "room_pattern", "sender_prefix", "trusted_peers"}
    | {"digest_algorithms", "digest_max_failures", "digest_nonce_ttl", "unreachable_ttl"},
    "worker": LOGS
    | {"check_on_create", "create_on_join", "delivery_chunk", "evict_after", "max_members"}
    | {"max_rooms_per_owner", "owner_exit", "unreachable_ttl"},
}
"""What a process of each role can change while it runs."""
FOREIGN: Final[dict[Role, frozenset[str]]] = {
    "edge": LIVE["worker"] - LIVE["edge"],
    "worker": USER_LIMITS
    | frozenset({"accept_types", "extra_hdrs", "identity", "imc_cmd_start_char", "max_backlog"})
    | {"max_in_flight", "recipient_queue", "sender_prefix", "trusted_peers"}
    | {"digest_algorithms", "digest_max_failures", "digest_nonce_ttl", "digest_key_file"},
}
"""What a process of each role has no use for: a change of it needs nothing there."""

log = structlog.get_logger()


class Part(Protocol):
    """A part of a process that takes new settings."""

    def reload(self, settings: Settings) -> None:
        """Go on with these settings."""
        ...


class Plan(NamedTuple):
    """What a reload comes to: the settings to go on with, the names that change, those that would have to."""

    settings: Settings
    changed: tuple[str, ...]
    restart: tuple[str, ...]


def plan(now: Settings, wanted: Settings, role: Role) -> Plan:
    """How a process of this role gets from its settings to the wanted ones without a restart."""
    differ = [name for name in Settings.model_fields if getattr(now, name) != getattr(wanted, name)]
    changed = tuple(name for name in differ if name in LIVE[role])
    restart = tuple(name for name in differ if name not in LIVE[role] | FOREIGN[role])
    settings = now.model_copy(update={name: getattr(wanted, name) for name in changed})
    return Plan(settings, changed, restart)


def reload(now: Settings, read: Callable[[], Settings], role: Role, parts: Sequence[Part]) -> Settings:
    """Read again, hand the parts what may change, and log what came of it; the settings to go on with.

    With a mistake in them, everything stays as it was.
    """
    try:
        wanted = read()
    except SettingsError as error:
        log.error("settings stay as they were", mistakes=[str(each) for each in error.mistakes])  # noqa: TRY400 # the mistakes say it all
        return now
    settings, changed, restart = plan(now, wanted, role)
    if changed:
        if LOGS & set(changed):
            logs.configure(settings)
        for part in parts:
            part.reload(settings)
    log.info("settings read again", changed=list(changed))
    if restart:
        log.warning("these settings take effect with a restart", settings=list(restart))
    return settings
