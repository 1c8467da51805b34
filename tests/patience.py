"""How long tests wait, and how they measure time, on a machine that is busy or stalls for seconds."""

from __future__ import annotations

import threading
import time
from types import TracebackType

PATIENCE = 40.0
"""Seconds to wait for something that must happen."""
_TICK = 0.01
_STALL = 0.05


class Stopwatch:
    """Seconds since its start, without the time in which the machine did not let this process run.

    A thread sleeps for short ticks; a tick that lasts much longer was a stall. As a context manager, the
    watch stops at the end of the block.
    """

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._stalled = 0.0
        self._stopped: float | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        before = self._started  # not when this thread first runs: that may be late, too
        while not self._end.wait(_TICK):
            now = time.monotonic()
            if now - before > _STALL:
                self._stalled += now - before - _TICK
            before = now

    @property
    def seconds(self) -> float:
        """Seconds up to now, or up to the stop."""
        return (self._stopped or time.monotonic()) - self._started - self._stalled

    def stop(self) -> float:
        """Stop the watch; returns its seconds."""
        if self._stopped is None:
            time.sleep(2 * _TICK)  # so that the thread sees a stall that has just ended
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
