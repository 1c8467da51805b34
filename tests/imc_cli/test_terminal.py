"""Text from outside on a terminal, and addresses as people type them."""

from __future__ import annotations

import pytest
import typer

from imc_cli.endpoint import endpoint
from imc_cli.terminal import shown


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
def test_nothing_a_sender_writes_drives_the_terminal(text: str, on_screen: str) -> None:
    """Letters of all scripts stay; control, escape and direction characters become visible."""
    assert shown(text) == on_screen


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("127.0.0.1:5070", ("127.0.0.1", 5070)),
        ("sip.example.org", ("sip.example.org", 5060)),
        ("[::1]:5062", ("::1", 5062)),
    ],
)
def test_host_and_port(text: str, value: tuple[str, int]) -> None:
    """The port may be left out."""
    assert endpoint(text) == value


@pytest.mark.parametrize("text", ["", "a:b", "h:0", "h:65536", "sip:h:5060", "::1", "h:5060 "])
def test_what_is_no_host_and_port(text: str) -> None:
    """A message names what was given."""
    with pytest.raises(typer.BadParameter, match="is not HOST:PORT"):
        endpoint(text)
