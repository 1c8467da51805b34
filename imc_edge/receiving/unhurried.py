"""Requests that wait while others are handled: REGISTERs of trusted peers.

When a registrar restarts, it passes on thousands of REGISTERs within a second. Messages behind them would
wait for all of them, in the socket and in the event loop. So a turn of the event loop handles a few, and the
rest waits in this process. None of these has got a response. So nothing is lost with the process: the peer
sends them again (RFC 3261 §17.1.2.2).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from imc_edge.flow import Flow

PER_TURN: Final = 8
"""Handled before other work of the event loop gets its turn."""
MAX_WAITING = 10_000  # not Final, which mypyc would inline: tests lower it
"""Requests that wait; further ones are dropped, as on a congested network."""

Handle = Callable[[Any, Flow], None]


class Unhurried:
    """Handles what it is given at once or later, in order."""

    def __init__(self, on_drop: Callable[[], None]) -> None:
        """``on_drop`` is called for each request that finds too many others waiting."""
        self._on_drop = on_drop
        self._waiting: deque[tuple[Handle, Any, Flow]] = deque()
        self._left = PER_TURN
        """Requests that this turn has left."""
        self._used = asyncio.Event()

    def take(self, handle: Handle, request: Any, flow: Flow) -> None:
        """Call ``handle`` with this request, bytes or parsed, now or in another turn. It must not raise."""
        self._used.set()
        if self._left and not self._waiting:
            self._left -= 1
            handle(request, flow)
        elif len(self._waiting) < MAX_WAITING:
            self._waiting.append((handle, request, flow))
        else:
            self._on_drop()

    async def run(self) -> None:
        """Handle what waits, until cancelled."""
        while True:
            await self._used.wait()
            await asyncio.sleep(0)
            if not self.turn():
                self._used.clear()

    def turn(self) -> bool:
        """Handle the next requests that wait; True if there were any."""
        self._left = PER_TURN
        were_any = bool(self._waiting)
        while self._waiting and self._left:
            self._left -= 1
            handle, request, flow = self._waiting.popleft()
            handle(request, flow)
        return were_any
