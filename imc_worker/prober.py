"""Finds out which members who were away are back: each is sent the first message it missed from time to time.

`lua/probe_users.lua` chooses the users and doubles the wait after each probe. The edge sends the message like
any other; if it is accepted, its report brings the user back (`lua/welcome_back.lua`).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog

from imc_common import keys
from imc_common.keys import Keys
from imc_common.metrics import Metrics
from imc_common.rooms.history import too_old
from imc_common.scripts import Command
from imc_common.settings import Settings
from imc_common.store import ReplyError, StoreUnreachable
from imc_common.store.protocols import ScriptRunner

LOOK_SECONDS: Final = 1.0
"""Seconds between two looks at a shard."""
STEPS: Final = 20
"""Steps in this time. Each looks at some of the shards: the probes of all would keep Redis busy for 20 ms."""
PROBES_PER_SECOND: Final = 320
"""Probes of all shards, at most: a registrar that restarts must not be flooded by them. With more shards than
that, one probe of each would be too much: then some wait for their turn."""
MAX_WAIT_MS: Final = 600_000
"""Between two probes of a user who does not come back."""
PIPELINE: Final = 200
"""Shards of one pipeline."""

log = structlog.get_logger()


class Prober:
    """Starts the probes of the shards that this worker owns."""

    def __init__(
        self,
        store: ScriptRunner,
        settings: Settings,
        owned: Callable[[], frozenset[int]],
        wall: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        """``wall()``: seconds since the epoch."""
        self._store = store
        self._owned = owned
        self._wall = wall
        self._names = Keys(settings.rooms_table, settings.members_table, settings.history_table)
        self._shards = 1 << settings.hash_size
        self._max_probes = max(1, PROBES_PER_SECOND // self._shards)
        self._allowed = 0.0
        """Probes that may be started now; negative after too many."""
        self._next: dict[int, None] = {}
        """Shards that are to be looked at, the one that waits for longest first."""
        self._probes = metrics.counter("imc_history_probes", "Users who were away and were probed.")
        self.reload(settings)

    def reload(self, settings: Settings) -> None:
        """Use these settings from now on."""
        self._settings = settings

    async def run(self) -> None:
        """Probe until cancelled."""
        for step in itertools.cycle(range(STEPS)):
            await asyncio.sleep(LOOK_SECONDS / STEPS)
            with suppress(StoreUnreachable):  # readiness reports it
                await self.probe(step, STEPS)

    async def probe(self, step: int = 0, steps: int = 1) -> None:
        """Start the probes that are due now, in all owned shards or in those of one step, and in those that
        still wait.

        Raises StoreUnreachable.
        """
        owned = self._owned()
        per_second = PROBES_PER_SECOND * len(owned) / self._shards
        self._allowed = min(per_second, self._allowed + per_second / steps)
        self._next |= dict.fromkeys(sorted(owned)[step::steps])
        while self._next and self._allowed > 0:
            some = [shard for shard in itertools.islice(self._next, PIPELINE) if shard in owned]
            self._next = dict.fromkeys(itertools.islice(self._next, PIPELINE, None))
            replies = await self._store.run([self._due(shard) for shard in some])
            for shard, reply in zip(some, replies, strict=True):
                if isinstance(reply, ReplyError):
                    log.warning("probes not started", shard=shard, reason=str(reply))
                else:
                    self._probes.value += reply
                    self._allowed -= reply

    def _due(self, shard: int) -> Command:
        names, settings = self._names, self._settings
        prefixes = (keys.away_rooms(shard, ""), names.room(shard, ""), names.members(shard, ""))
        return self._store.script(
            "probe_users",
            [keys.probes(shard), keys.probe_waits(shard), keys.events(shard)],
            [
                self._max_probes,
                MAX_WAIT_MS,
                settings.history_max_messages,
                *too_old(settings.history_max_age, self._wall()),
                *prefixes,
                names.history(shard, ""),
            ],
        )
