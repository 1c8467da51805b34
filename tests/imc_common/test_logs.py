"""Log lines. Also covers escape.py."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from imc_common import logs
from imc_common.escape import printable
from imc_common.settings import Settings


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Restore the log configuration after each test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers, root.level = handlers, level


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """The JSON lines written so far."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_lines_are_json_unless_on_a_terminal() -> None:
    """Level, time and fields."""
    stream = io.StringIO()
    logs.configure(Settings(), stream)
    structlog.get_logger().warning("delivery failed", status=404, shards=[1])
    [line] = lines(stream)
    assert (line["event"], line["level"], line["status"], line["shards"]) == (
        "delivery failed",
        "warning",
        404,
        [1],
    )
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize(("form", "stream"), [("auto", Terminal()), ("console", io.StringIO())])
def test_lines_are_text_on_a_terminal(form: str, stream: io.StringIO) -> None:
    """Or if the setting says so. Exceptions have their traceback."""
    logs.configure(Settings(log_format=form), stream)  # type: ignore[arg-type]
    try:
        int("bad\x1b[2J news")
    except ValueError as error:
        error.add_note("note\x07")
        structlog.get_logger().exception("handling failed")
    assert "handling failed" in stream.getvalue()
    assert "note\\x07" in stream.getvalue()
    assert "Traceback" in stream.getvalue()


def test_lines_below_the_level_are_left_out() -> None:
    """`log_level` is the minimum level."""
    stream = io.StringIO()
    logs.configure(Settings(log_level="warning"), stream)
    structlog.get_logger().info("a")
    structlog.get_logger().warning("b")
    assert [line["event"] for line in lines(stream)] == ["b"]


def test_a_call_id_is_bound_to_all_lines_of_a_context() -> None:
    """One grep finds all lines about a message."""
    stream = io.StringIO()
    logs.configure(Settings(), stream)
    with logs.about("abc@host"):
        structlog.get_logger().info("a")
    structlog.get_logger().info("b")
    assert [line.get("call_id") for line in lines(stream)] == ["abc@host", None]


def test_untrusted_text_cannot_forge_a_line_or_control_a_terminal() -> None:
    """All but printable ASCII is escaped in texts, bytes and errors. Long values are truncated."""
    stream = Terminal()
    logs.configure(Settings(), stream)
    structlog.get_logger().info(
        "odd\nline", user="a\x1b]0;x\x07\u202e", body=b"\xff\r\n", error=ValueError("x\ny"), long="z" * 9999
    )
    line = re.sub(r"\x1b\[[0-9]*m", "", stream.getvalue())  # without the colours
    assert line.endswith("\n")
    assert line[:-1].isascii()
    assert line[:-1].isprintable()
    for shown in (r"odd\nline", r"a\x1b]0;x\x07\u202e", r"\xff", "ValueError: x", "zzz..."):
        assert shown in line
    assert "z" * 2001 not in line


def test_a_flood_of_one_event_is_limited_and_counted() -> None:
    """Other events are not affected. The first line of the next period has the number of lines left out."""
    now = 0.0
    limit = logs.RateLimit(lambda: now)

    def passes(text: str) -> dict[str, Any] | None:
        try:
            return dict(limit(None, "info", {"event": text}))
        except structlog.DropEvent:
            return None

    assert [passes("a") is not None for _ in range(logs.BURST + 5)] == [True] * logs.BURST + [False] * 5
    assert passes("b") == {"event": "b"}
    now = logs.PERIOD
    assert passes("a") == {"event": "a", "left_out": 5}
    now = 2 * logs.PERIOD
    assert passes("a") == {"event": "a"}


def test_the_memory_of_the_rate_limit_is_bounded() -> None:
    """Even if every event has a new text."""
    limit = logs.RateLimit(lambda: 0.0)
    for number in range(5000):
        limit(None, "info", {"event": f"text {number}"})
    assert len(limit._texts) <= 1000


def test_log_lines_of_libraries_are_included() -> None:
    """Without their debug lines."""
    stream = io.StringIO()
    logs.configure(Settings(log_level="debug"), stream)
    logging.getLogger("asyncio").warning("slow %s", "callback\x07")
    logging.getLogger("asyncio").debug("noise")
    [line] = lines(stream)
    assert (line["event"], line["level"], line["logger"]) == ("slow callback\\x07", "warning", "asyncio")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("a\x00\x7f\n", r"a\x00\x7f\n"),
        ("é\u202e", r"\xe9\u202e"),
        ("x" * 30, "x" * 17 + "..."),
    ],
)
def test_printable_text_is_ascii_of_bounded_length(text: str, shown: str) -> None:
    """Printable text stays, the rest is escaped, and a long text is truncated."""
    assert printable(text, 20) == shown


def test_audit_lines_are_never_left_out() -> None:
    """However many there are."""
    limit = logs.RateLimit(lambda: 0.0)
    line = {"event": "operator command", "audit": True}
    kept = [limit(None, "info", dict(line)) for _ in range(10 * logs.BURST)]
    assert kept == [line] * 10 * logs.BURST
