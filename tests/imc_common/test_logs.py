"""Log lines."""

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
    """Each test sets logging up anew, and leaves it as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers, root.level = handlers, level


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """The JSON lines written so far."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_lines_are_json_where_no_person_looks() -> None:
    """With level, time and fields."""
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
def test_lines_are_for_people_at_a_terminal(form: str, stream: io.StringIO) -> None:
    """Or where the setting says so; exceptions are shown in full."""
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
    """`log_level` is the least one."""
    stream = io.StringIO()
    logs.configure(Settings(log_level="warning"), stream)
    structlog.get_logger().info("a")
    structlog.get_logger().warning("b")
    assert [line["event"] for line in lines(stream)] == ["b"]


def test_a_call_id_is_bound_to_all_lines_about_it() -> None:
    """One grep follows a message."""
    stream = io.StringIO()
    logs.configure(Settings(), stream)
    with logs.about("abc@host"):
        structlog.get_logger().info("a")
    structlog.get_logger().info("b")
    assert [line.get("call_id") for line in lines(stream)] == ["abc@host", None]


def test_text_from_outside_cannot_forge_a_line_or_drive_a_terminal() -> None:
    """Control characters and all beyond ASCII are escaped, in texts, bytes and errors; long ones are cut."""
    stream = Terminal()
    logs.configure(Settings(), stream)
    structlog.get_logger().info(
        "odd\nline", user="a\x1b]0;x\x07\u202e", body=b"\xff\r\n", error=ValueError("x\ny"), long="z" * 9999
    )
    line = re.sub(r"\x1b\[[0-9]*m", "", stream.getvalue())  # colours are ours
    assert line.endswith("\n")
    assert line[:-1].isascii()
    assert line[:-1].isprintable()
    for shown in (r"odd\nline", r"a\x1b]0;x\x07\u202e", r"\xff", "ValueError: x", "zzz..."):
        assert shown in line
    assert "z" * 2001 not in line


def test_a_flood_of_one_line_is_cut_and_counted() -> None:
    """Others still come, and when the time is over the next line tells how many were left out."""
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


def test_the_memory_of_the_limit_is_bounded() -> None:
    """Even if somebody formats ever new texts."""
    limit = logs.RateLimit(lambda: 0.0)
    for number in range(5000):
        limit(None, "info", {"event": f"text {number}"})
    assert len(limit._texts) <= 1000


def test_what_libraries_log_comes_the_same_way() -> None:
    """From warnings up to exceptions; their debug lines are left out."""
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
    """What is printable stays, the rest is escaped, the end is cut."""
    assert printable(text, 20) == shown


def test_audit_lines_are_never_left_out() -> None:
    """However many there are: who did what has to be known."""
    limit = logs.RateLimit(lambda: 0.0)
    line = {"event": "operator command", "audit": True}
    kept = [limit(None, "info", dict(line)) for _ in range(10 * logs.BURST)]
    assert kept == [line] * 10 * logs.BURST
