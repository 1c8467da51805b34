"""Log lines: JSON or text for a console, with escaped values and a rate limit.

The event of a line is a constant text; everything else is a field: ``log.warning("delivery failed",
status=404)``. So lines of one kind can be counted and found with one grep.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

from imc_common.escape import printable
from imc_common.settings import Settings

BURST = 20
PERIOD = 10.0
"""At most `BURST` lines of one event in `PERIOD` seconds. The next line has the number of lines left out."""

_MAX_TEXTS = 1000  # events are constants; more than this means that a value was formatted into one
_MAX_FIELD = 2000  # enough for a traceback, but not for a whole datagram


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Configure structlog, and pass lines of the standard `logging` through it, to `stream` (default:
    stderr)."""
    out = stream or sys.stderr
    console = settings.log_format == "console" or (settings.log_format == "auto" and out.isatty())
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    # plain_traceback, because the exception is text already, which `escape` has processed
    ending: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)
        if console
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            RateLimit(time.monotonic),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            escape,
            ending,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,  # a reload may change the level
    )
    logging.basicConfig(handlers=[_ToStructlog()], level=max(level, logging.INFO), force=True)


def about(call_id: str) -> AbstractContextManager[None]:
    """Within this context, every log line of the task has the Call-ID of the request."""
    return structlog.contextvars.bound_contextvars(call_id=call_id)


def escape(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    """Make every value printable: text from the network cannot forge lines or control a terminal.

    A traceback keeps its line breaks, which JSON writes as ``\\n``.
    """
    for name, value in fields.items():
        if isinstance(value, bytes):
            fields[name] = printable(value.decode("utf-8", "backslashreplace"), _MAX_FIELD)
        elif isinstance(value, str):
            if name == "exception":
                fields[name] = "\n".join(printable(line, _MAX_FIELD) for line in value.split("\n"))
            elif not (value.isascii() and value.isprintable() and len(value) <= _MAX_FIELD):
                fields[name] = printable(value, _MAX_FIELD)
        elif isinstance(value, BaseException):
            fields[name] = printable(f"{type(value).__name__}: {value}", _MAX_FIELD)
    return fields


class RateLimit:
    """Drops lines of one event beyond `BURST` in `PERIOD` seconds, so that a flood cannot fill a disk."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._texts: dict[str, tuple[float, int]] = {}  # start of the period, number of lines

    def __call__(self, _logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
        if fields.get("audit"):  # audit lines are never dropped
            return fields
        text, now = str(fields.get("event")), self._clock()
        since, count = self._texts.get(text, (now, 0))
        if now - since >= PERIOD:
            if count > BURST:
                fields["left_out"] = count - BURST
            since, count = now, 0
        if len(self._texts) >= _MAX_TEXTS:
            self._texts.clear()
        self._texts[text] = (since, count + 1)
        if count >= BURST:
            raise structlog.DropEvent
        return fields


class _ToStructlog(logging.Handler):
    """Passes log lines of asyncio and libraries to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info
        )
