"""Which addresses may be rooms."""

from __future__ import annotations

from imc_common.rooms.room_rules import RoomRules
from imc_common.settings import Settings


def test_without_rules_every_address_is_taken() -> None:
    """The defaults serve any domain and any name."""
    assert RoomRules(Settings()).takes("anything@anywhere.example:5070")


def test_a_foreign_domain_is_not_taken_not_even_for_commands() -> None:
    """`domains` holds for rooms and for the command address, whatever the port."""
    rules = RoomRules(Settings(domains=("example.org", "[::1]")))
    assert rules.takes("chat@example.org:5070")
    assert rules.takes("chat@[::1]:5070")
    assert not rules.takes("chat@example.com")
    assert not rules.takes("chat-manager@example.com")


def test_a_name_off_the_pattern_is_not_taken_but_the_command_address_is() -> None:
    """`room_pattern` is about rooms, and the command address is none."""
    rules = RoomRules(Settings(room_pattern="chat-[0-9]+"))
    assert rules.takes("chat-1@example.org")
    assert not rules.takes("chat-1x@example.org")
    assert not rules.takes("xchat-1@example.org")
    assert rules.takes("chat-manager@example.org")
