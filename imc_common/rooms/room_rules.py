"""Which addresses can be rooms: the settings `domains`, `room_pattern` and `manager`."""

from __future__ import annotations

import re

from imc_common.address import domain, split, without_case
from imc_common.settings import Settings


class RoomRules:
    """The rules of one set of settings, for the room of a request and for arguments of commands."""

    def __init__(self, settings: Settings) -> None:
        self._domains = frozenset(settings.domains)
        self._pattern = re.compile(settings.room_pattern) if settings.room_pattern else None
        self._manager = settings.manager if settings.case_sensitive_users else without_case(settings.manager)

    def takes(self, to: str) -> bool:
        """Whether requests to this address are accepted: a room or the command address. If not, 404."""
        return self.serves(to) and (self.fits_pattern(to) or self.is_command_address(to))

    def serves(self, address: str) -> bool:
        """Whether the address is in a served domain."""
        return not self._domains or domain(address) in self._domains

    def is_command_address(self, address: str) -> bool:
        """Whether this is the address that takes commands and has no room (`manager`, in a served domain)."""
        return split(address)[0] == self._manager and self.serves(address)

    def fits_pattern(self, address: str) -> bool:
        """Whether `room_pattern` allows the user part as the name of a room."""
        return self._pattern is None or self._pattern.fullmatch(split(address)[0]) is not None
