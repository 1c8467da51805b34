"""No command writes text from Redis or the network that controls the terminal."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from imc_cli.mi import _show
from imc_cli.overview import Overview, Shard
from imc_cli.terminal import terminal_safe
from imc_cli.top import screen
from imc_cli.trace import _print_json, _printer
from imc_common import logs
from imc_common.escape import printable
from imc_common.settings import Settings

HOSTILE = [
    "\x1b[2J\x1b]0;owned\x07",
    "\x9b31m",
    "a\rb\x08\x08c",
    "\u202egro.elpmaxe\u2066",
    "x\u2028y\x85z",
    "[/red][bold]",
    "[link=file:///etc/passwd]x[/link]",
    "\x00\x7f",
    "\U000e0041",
    "\udcff",
]
hostile = pytest.mark.parametrize("text", HOSTILE, ids=ascii)


def assert_harmless(output: str) -> None:
    """Only printable characters and line ends."""
    assert all(char.isprintable() or char == "\n" for char in output), ascii(output)


@hostile
@pytest.mark.parametrize("form", ["room", "rooms", "members", "user", "other", "list", "text"])
def test_imc_mi_escapes_results(text: str, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In every form of a result."""
    results: dict[str, Any] = {
        "room": {"ROOM": text, "PRIVATE": 1, "CREATED_AT": 1, "MEMBERS": [{"URI": text, "ROLE": text}]},
        "rooms": {"ROOMS": [{"URI": text, "MEMBERS": 1, "OWNER": text}]},
        "members": {"ROOM": text, "MEMBERS": [text], "NO_MEMBERS": 1},
        "user": {"ROOMS": [], "MESSAGES": [{"BODY": text}]},
        "other": {text: [text, text]},
        "list": [text, [text]],
        "text": text,
    }
    _show(results[form])
    output = capsys.readouterr().out
    assert_harmless(output)
    if "[" in text and text.isprintable():
        assert text.split("]", maxsplit=1)[0] in output.replace("\n", ""), "no part of it is read as markup"


@hostile
def test_imc_trace_escapes_steps(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As text and as JSON."""
    words = ("at", "process", "step", "room", "users", "call_id", "reason", text)
    fields = dict.fromkeys(words, f"edge {text}") | {"at": "1700000000000"}
    for show in (_printer(), _print_json):
        show(fields)
        show({"process": text, "left_out": text})
    assert_harmless(
        capsys.readouterr().out.replace("\x7f", "")
    )  # JSON does not escape DEL, which has no effect


@hostile
def test_imc_top_escapes_names(text: str) -> None:
    """Of rooms and processes."""
    numbers = dict.fromkeys(Shard.__annotations__, 0)
    shard = Shard(**(numbers | {"worker": text, "edge": text * 10}))  # type: ignore[arg-type]
    about: dict[str, Any] = {"shards": [shard], "workers": [text], "edges": [text * 10]}
    about |= {"memory": "1M", "clients": 1}
    now, before = (Overview(**about, at=at, busiest={text: count}) for at, count in ((2.0, 9.0), (1.0, 1.0)))
    out = io.StringIO()
    Console(file=out, width=200).print(screen(now, before, 160, 40))
    assert_harmless(out.getvalue())


@hostile
@pytest.mark.parametrize("form", ["json", "console"])
def test_log_lines_are_escaped(text: str, form: str) -> None:
    """Text, bytes and errors, also in a list or as the event."""
    out = io.StringIO()
    try:
        logs.configure(Settings(log_format=form), out)  # type: ignore[arg-type]
        raw = text.encode("utf-8", "surrogatepass")
        structlog.get_logger().warning(
            text, reason=ValueError(text), data=raw, who=text, more=[text, raw], about={text: text}
        )
        try:
            (raw + b"\xff").decode()
        except UnicodeDecodeError:
            structlog.get_logger().exception("failed")
    finally:
        structlog.reset_defaults()
    assert_harmless(out.getvalue())
    if form == "json":
        assert [json.loads(line)["level"] for line in out.getvalue().splitlines()] == ["warning", "error"]


@given(st.text())
def test_any_text_is_escaped(text: str) -> None:
    """In `imc chat` with its line breaks, elsewhere as ASCII."""
    assert_harmless(terminal_safe(text))
    assert printable(text).isascii()
    assert_harmless(printable(text).replace("\n", "not even a line end"))
    assert len(printable(text)) <= 200
