"""Which addresses can be rooms."""

from __future__ import annotations

from imc_common.rooms.room_rules import RoomRules
from imc_common.settings import Settings


def test_by_default_every_address_can_be_a_room() -> None:
    assert RoomRules(Settings()).takes("anything@anywhere.example:5070")


def test_a_foreign_domain_has_neither_rooms_nor_commands() -> None:
    """`domains` applies to rooms and the command address, at any port."""
    rules = RoomRules(Settings(domains=("example.org", "[::1]")))
    assert rules.takes("chat@example.org:5070")
    assert rules.takes("chat@[::1]:5070")
    assert not rules.takes("chat@example.com")
    assert not rules.takes("chat-manager@example.com")


def test_room_pattern_does_not_apply_to_the_command_address() -> None:
    rules = RoomRules(Settings(room_pattern="chat-[0-9]+"))
    assert rules.takes("chat-1@example.org")
    assert not rules.takes("chat-1x@example.org")
    assert not rules.takes("xchat-1@example.org")
    assert rules.takes("chat-manager@example.org")
