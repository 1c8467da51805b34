"""How long tests wait, and how they measure, on a machine that is busy or stands still for seconds."""

from __future__ import annotations

import threading
import time
from types import TracebackType

PATIENCE = 40.0
"""Seconds within which what must come has come."""
_TICK = 0.01
_STALL = 0.05


class Stopwatch:
    """Seconds since its start, those left out in which this machine did not let us run.

    A thread that sleeps for moments sees when one lasts longer: then nobody could keep a promise in time.
    Used as a context, it stops with the block.
    """

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._stalled = 0.0
        self._stopped: float | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        before = time.monotonic()
        while not self._end.wait(_TICK):
            now = time.monotonic()
            if now - before > _STALL:
                self._stalled += now - before - _TICK
            before = now

    @property
    def seconds(self) -> float:
        """The seconds up to now, or up to its end."""
        return (self._stopped or time.monotonic()) - self._started - self._stalled

    def stop(self) -> float:
        """Its end; the seconds."""
        if self._stopped is None:
            time.sleep(2 * _TICK)  # a stall that ended just now is seen
            self._stopped = time.monotonic()
            self._end.set()
            self._thread.join()
        return self.seconds

    def __enter__(self) -> Stopwatch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
