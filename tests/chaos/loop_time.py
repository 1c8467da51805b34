"""The time of whatever runs the users: monotonic, or simulated (`tests/simulation`)."""

from __future__ import annotations

import asyncio


def now() -> float:
    """Seconds by the clock of the event loop."""
    return asyncio.get_running_loop().time()
