"""Log lines: JSON for programs or coloured for people, escaped, and limited in rate.

The text of a line is constant and what varies goes into its fields (``log.warning("delivery failed",
status=404)``): so repeats can be told, and one grep finds all lines of a kind.
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
"""At most `BURST` lines of one text in `PERIOD` seconds; the next one says how many were left out."""

_MAX_TEXTS = 1000  # texts are constants of the source; more than this means somebody formats into them
_MAX_FIELD = 2000  # a traceback fits, a whole datagram does not


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Set up structlog, and lead lines of the standard `logging` the same way, to `stream` (stderr)."""
    out = stream or sys.stderr
    console = settings.log_format == "console" or (settings.log_format == "auto" and out.isatty())
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    # plain_traceback: the exception is text already, so that `escape` has seen it
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
        cache_logger_on_first_use=False,  # a reload may change the level; lines are few
    )
    logging.basicConfig(handlers=[_ToStructlog()], level=max(level, logging.INFO), force=True)


def about(call_id: str) -> AbstractContextManager[None]:
    """While it lasts, every line of this task carries the request's Call-ID."""
    return structlog.contextvars.bound_contextvars(call_id=call_id)


def escape(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    """Make every text of a line printable: what came off the wire cannot forge lines or drive a terminal.

    Line breaks of a traceback stay: it is ours, and JSON writes them as ``\\n``.
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
    """Drops a text's lines past `BURST` in `PERIOD` seconds, so that a flood cannot fill a disk."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._texts: dict[str, tuple[float, int]] = {}  # since when, how many

    def __call__(self, _logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
        if fields.get("audit"):  # who did what is never left out
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
    """Leads what asyncio and libraries log into the same lines."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info
        )
