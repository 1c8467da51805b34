"""Who passes a limit hears so: one notice for each limit, user and minute, whichever edges refuse.

Redis decides who tells (`lua/send_limit_notice.lua`), in the script that also writes the notice: so there is
one and no more, and none is lost with the edge that was about to. An edge remembers how long it is to be
silent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from imc_common import keys
from imc_common.address import without_port
from imc_common.rooms.request import RoomRequest
from imc_common.store import Command, Store
from imc_edge.receiving.budgets import Excess

WINDOW_MS: Final = 60_000
"""For so long a user is not told of the same limit again."""
MOST_KNOWN: Final = 100_000
"""Remembered users and limits; past it all start anew, which costs a script each."""


class Telling(NamedTuple):
    """A notice on its way to Redis; to be handed to `ExcessNotices.heard` with the reply."""

    key: str


class ExcessNotices:
    """Makes the commands that tell users of a limit they have passed."""

    def __init__(self, store: Store, hash_size: int, clock: Callable[[], float]) -> None:
        """``clock`` is monotonic, in seconds."""
        self._store = store
        self._hash_size = hash_size
        self._clock = clock
        self._silent_until: dict[str, float] = {}

    def due(self, entry: RoomRequest, excess: Excess, max_backlog: int) -> tuple[Command, Telling] | None:
        """What tells the sender of a refused request, unless it was told; of everybody's limit nobody is."""
        if excess.limit == "total":
            return None
        who = without_port(entry.sender)
        shard = keys.shard_of(who, self._hash_size)
        key = keys.limit_notice(shard, f"{excess.limit}{excess.part}", who)
        now = self._clock()
        if self._silent_until.get(key, now) > now:
            return None
        if len(self._silent_until) >= MOST_KNOWN:
            self._silent_until.clear()
        self._silent_until[key] = now + WINDOW_MS / 1000
        notice = entry._replace(
            type="refused",
            reason=excess.reason,
            command=entry.command or entry.type,
            detail=str(excess.seconds),
        )
        args = (WINDOW_MS, max_backlog, *notice.to_fields())
        return self._store.script("send_limit_notice", (key, keys.requests(shard)), args), Telling(key)

    def heard(self, telling: Telling, reply: Any) -> None:
        """What Redis says: how long to be silent. If it took nothing, the next refusal tries again."""
        if isinstance(reply, int):
            self._silent_until[telling.key] = self._clock() + reply / 1000
        else:
            self._silent_until.pop(telling.key, None)
