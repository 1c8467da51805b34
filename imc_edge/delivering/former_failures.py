"""What the former owner of a shard knew of members who are away, and the new owner has to know.

When a delivery fails because nobody is there, the edge remembers it, and a report goes to the shard's
worker. Until the worker has handled the report, the member still gets new messages. The edge withholds them,
or they would overtake the one that failed. If the edge dies in this time, only the reports know of it.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from imc_common import keys
from imc_common.rooms.delivery_reports import AWAY
from imc_common.store.errors import raise_if_transient
from imc_common.store.protocols import ScriptRunner
from imc_edge.delivering.absence import Position, parse

PAGE: Final = 500
"""Requests read at once. Few wait, unless the worker died as well."""
_NONE: Final = (0, 0)
_POSITION: Final = re.compile(rb"[0-9]+-[0-9]+").fullmatch


class Failure(NamedTuple):
    """A message that did not reach a member, as a report says that no worker has handled yet."""

    user: str
    room: str
    position: str


class FormerFailures:
    """Reads them for each shard that is new to this edge.

    The former owner may still write outcomes: its command may be on its way, or its process go on after it
    was suspended. So the reports are read each time after it was read which events are unfinished. A failure
    that comes later is of an event that counts as unfinished here, and that is sent in its turn.
    """

    def __init__(self, store: ScriptRunner) -> None:
        self._store = store
        self._newest: dict[int, Position] = {}
        """By shard whose reports were read, the newest event at that time; `_NONE` when it has passed."""
        self._read_to: dict[int, str] = {}
        """By shard, where the reports begin that were not read yet, as in XRANGE."""
        self._known: set[int] = set()
        """Shards of which nothing is left to be read: all events of the former owner were read before."""
        self._being_read: set[int] = set()
        self._owned: frozenset[int] = frozenset()

    def keep(self, owned: frozenset[int]) -> None:
        """Forget the shards that this edge no longer owns."""
        if owned is not self._owned:
            self._owned = owned
            for shard in self._newest.keys() - owned:
                del self._newest[shard]
                self._read_to.pop(shard, None)
            self._known &= owned
            self._being_read &= owned

    def is_new(self, shard: int) -> bool:
        """Whether nothing was read of this shard since it is ours."""
        return shard not in self._newest

    def are_known(self, shard: int) -> bool:
        """Whether all failures of the former owner were read."""
        return shard in self._known

    def noted(self, shard: int) -> None:
        """They were read, after all events that the former owner had read."""
        if shard in self._newest:  # else it was lost meanwhile
            self._known.add(shard)

    async def read(self, shard: int) -> list[Failure]:
        """The failures of this shard, oldest first, from the second time on the new ones only.

        Raises `StoreUnreachable`.
        """
        failures: list[Failure] = []
        self._being_read.add(shard)
        start = self._read_to.get(shard, "-")
        while True:
            (page,) = await self._store.run([("XRANGE", keys.requests(shard), start, "+", "COUNT", PAGE)])
            if not isinstance(page, list):
                raise_if_transient(page)
                break  # a key of a wrong type, which those who need this stream report
            failures += [failure for _, fields in page if (failure := _failure(fields))]
            if page:
                start = f"({page[-1][0].decode()}"
            if len(page) < PAGE:
                break
        # Read after the reports. If a report was handled before, the member is marked in its room, and what
        # was sent to it regardless is in the stream by now.
        (newest,) = await self._store.run([("XREVRANGE", keys.events(shard), "+", "-", "COUNT", 1)])
        raise_if_transient(newest)
        found = isinstance(newest, list) and newest
        if shard in self._being_read:  # else it was lost meanwhile
            self._being_read.remove(shard)
            self._newest[shard] = parse(newest[0][0].decode()) if found else _NONE
            self._read_to[shard] = start
        return failures

    def may_concern(self, shard: int, entry_id: str) -> bool:
        """Whether this event is so old that it may be for members who are marked as away since."""
        newest = self._newest.get(shard, _NONE)
        if newest == _NONE:
            return False
        if parse(entry_id) <= newest:
            return True
        self._newest[shard] = _NONE
        return False


def _failure(fields: list[bytes]) -> Failure | None:
    about: dict[bytes, Any] = dict(zip(fields[::2], fields[1::2], strict=False))
    position = about.get(b"history_id") or about.get(b"of") or b""
    if (
        about.get(b"type") != b"delivery_report"
        or about.get(b"event") != b"message"
        or not _POSITION(position)
    ):
        return None
    if about.get(b"status", b"").decode(errors="replace") not in AWAY:
        return None
    user, room = about.get(b"from", b""), about.get(b"room", b"")
    return Failure(user.decode(errors="replace"), room.decode(errors="replace"), position.decode())
