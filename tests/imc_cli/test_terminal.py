"""Escaping of text for a terminal. Also covers host_port.py."""

from __future__ import annotations

import pytest
import typer

from imc_cli.host_port import host_port
from imc_cli.terminal import terminal_safe


@pytest.mark.parametrize(
    ("text", "on_screen"),
    [
        ("Grüße ☎ 日本", "Grüße ☎ 日本"),
        ("two\nlines\r\nthree", "two\nlines\nthree"),
        ("\x1b[31mred\x1b]0;title\x07", "\\x1b[31mred\\x1b]0;title\\x07"),
        ("over\rwritten\x08", "over\\rwritten\\x08"),
        ("\u202eesrever\u2066\x9b", "\\u202eesrever\\u2066\\x9b"),
    ],
)
def test_text_of_a_sender_cannot_control_the_terminal(text: str, on_screen: str) -> None:
    """Control and bidirectional characters are escaped; letters of all scripts stay."""
    assert terminal_safe(text) == on_screen


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("127.0.0.1:5070", ("127.0.0.1", 5070)),
        ("sip.example.org", ("sip.example.org", 5060)),
        ("[::1]:5062", ("::1", 5062)),
    ],
)
def test_host_and_port_are_parsed(text: str, value: tuple[str, int]) -> None:
    """The port is optional."""
    assert host_port(text) == value


@pytest.mark.parametrize("text", ["", "a:b", "h:0", "h:65536", "sip:h:5060", "::1", "h:5060 "])
def test_an_invalid_host_and_port_is_refused(text: str) -> None:
    """The error contains the text."""
    with pytest.raises(typer.BadParameter, match="is not HOST:PORT"):
        host_port(text)
