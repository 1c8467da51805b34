"""Notices to users who exceed a limit: one per limit, user and minute, whichever edges refuse.

Redis decides who sends it, in the script that also writes the notice (`lua/send_limit_notice.lua`). So there
is exactly one, and it is not lost with an edge. An edge remembers how long no other is due.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from imc_common import keys
from imc_common.address import counted_as
from imc_common.rooms.request import RoomRequest
from imc_common.store import Command
from imc_common.store.protocols import ScriptRunner
from imc_edge.receiving.budgets import Excess

WINDOW_MS: Final = 60_000
"""Time between two notices to a user about one limit."""
MAX_KNOWN = 100_000  # not Final, which mypyc would inline: tests lower it
"""Users and limits that are remembered. If there are more, all are forgotten, and each costs one script
again."""


class AwaitingNotice:
    """A notice that Redis is asked to write."""

    __slots__ = ("_key", "_notices")

    def __init__(self, notices: ExcessNotices, key: str) -> None:
        self._notices = notices
        self._key = key

    def on_reply(self, reply: Any) -> None:
        """In how many ms the next one is due. If it was not written, the next refusal tries again."""
        self._notices.silence(self._key, reply / 1000 if isinstance(reply, int) else 0.0)


class ExcessNotices:
    """Makes the commands that write notices."""

    def __init__(
        self,
        store: ScriptRunner,
        hash_size: int,
        clock: Callable[[], float],
        max_known: int = MAX_KNOWN,
    ) -> None:
        """``clock`` is monotonic, in seconds."""
        self._max_known = max_known
        self._store = store
        self._hash_size = hash_size
        self._clock = clock
        self._silent_until: dict[str, float] = {}

    def due(
        self, room_request: RoomRequest, excess: Excess, max_backlog: int
    ) -> tuple[Command, AwaitingNotice] | None:
        """What notifies the sender of a refused request; None if none is due.

        Nobody is notified of the limit of the whole service: it is no fault of the sender.
        """
        if excess.limit == "total":
            return None
        user = counted_as(room_request.sender)
        shard = keys.shard_of(user, self._hash_size)
        key = keys.limit_notice(shard, f"{excess.limit}{excess.part}", user)
        now = self._clock()
        if self._silent_until.get(key, now) > now:
            return None
        if len(self._silent_until) >= self._max_known:
            self._silent_until.clear()
        self._silent_until[key] = now + WINDOW_MS / 1000
        notice = replace(
            room_request,
            type="refused",
            reason=excess.reason,
            command=room_request.command or room_request.type,
            detail=str(excess.seconds),
        )
        args = (WINDOW_MS, max_backlog, *notice.to_fields())
        command = self._store.script("send_limit_notice", (key, keys.requests(shard)), args)
        return command, AwaitingNotice(self, key)

    def silence(self, key: str, seconds: float) -> None:
        """No notice of this key is due for so long; 0: it is due at the next refusal."""
        if seconds:
            self._silent_until[key] = self._clock() + seconds
        else:
            self._silent_until.pop(key, None)
