"""Requests on their way into in-streams: those of one pipeline and shard go in by one script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from imc_common import keys
from imc_common.keys import Keys
from imc_common.rooms.request import RETRANSMISSION_SECONDS
from imc_common.settings import Settings
from imc_common.store import Command
from imc_common.store.protocols import DurableScriptRunner

MAX_REQUESTS: Final = 64
"""Requests per script: half a millisecond of Redis's time."""

_USUAL: Final[list[str | bytes]] = ["type", "from", "room", "data"]
"""The fields of most requests, in the order of `RoomRequest.to_fields`."""


class Accept:
    """One request for the in-stream of a shard, to be accepted once (`lua/accept_many.lua`).

    Its reply is ``accepted``, ``duplicate`` or ``overloaded``. For an accepted message it is the number of
    recipients instead if deliveries are limited.
    """

    __slots__ = ("digest", "fields", "shard")

    def __init__(self, shard: int, digest: str, fields: list[str | bytes]) -> None:
        """``digest``: the same for its retransmissions; ``fields``: names and values in turn."""
        self.shard = shard
        self.digest = digest
        self.fields = fields


class AcceptPipeline:
    """Runs pipelines in which requests are accepted, among other commands."""

    def __init__(self, store: DurableScriptRunner, settings: Settings) -> None:
        self._store = store
        self._keys = [keys.accepting(shard) for shard in range(1 << settings.hash_size)]
        self._limits: list[tuple[int, int, str]] = []
        self.reload(settings)

    def reload(self, settings: Settings) -> None:
        """Go on with these settings. `hash_size` stays what it was."""
        seen_ms = RETRANSMISSION_SECONDS * 1000
        names = Keys(settings.rooms_table, settings.members_table)
        counts_recipients = settings.max_deliveries_per_second > 0
        self._limits = [
            (seen_ms, settings.max_backlog, names.members(shard, "") if counts_recipients else "")
            for shard in range(len(self._keys))
        ]

    async def run(self, commands: Sequence[Command | Accept]) -> list[Any]:
        """The replies, in order, once what was written is as safe as the setting `durability` asks for.

        An error of a script is the reply to each request in it. Raises StoreUnreachable.
        """
        pipeline: list[Command] = []
        places: list[tuple[int, int]] = []  # of each command: which reply, and where in that of a script
        scripts: list[_Script] = []
        latest: dict[int, _Script] = {}  # of each shard
        for command in commands:
            if not isinstance(command, Accept):
                places.append((len(pipeline), -1))
                pipeline.append(command)
                continue
            # A script stands where its first request stood. So what is asked about a request behind it, by a
            # retransmission or a CANCEL, finds it accepted.
            script = latest.get(command.shard)
            if script is None or script.size == MAX_REQUESTS:
                script = _Script(command.shard, len(pipeline), self._limits[command.shard])
                latest[command.shard] = script
                scripts.append(script)
                pipeline.append(())
            places.append((script.place, script.size))
            script.add(command)
        for script in scripts:
            pipeline[script.place] = self._store.script("accept_many", self._keys[script.shard], script.args)
        replies = await self._store.run(pipeline, durable=True)
        return [_result(replies[place], index) for place, index in places]


class _Script:
    """The arguments of one script, while its requests are collected."""

    __slots__ = ("args", "place", "shard", "size")

    def __init__(self, shard: int, place: int, limits: tuple[int, int, str]) -> None:
        """``place``: where it stands in the pipeline."""
        self.shard = shard
        self.place = place
        self.size = 0
        self.args: list[str | bytes | int] = [*limits]

    def add(self, accept: Accept) -> None:
        """One more request."""
        self.size += 1
        fields = accept.fields
        # Nearly all are messages with the same four fields. The script knows their names and the type:
        # five words less for each to be packed, sent and read.
        if fields[::2] == _USUAL and fields[1] == "message":
            self.args += (accept.digest, 0, fields[3], fields[5], fields[7])
        else:
            self.args += (accept.digest, len(fields), *fields)


def _result(reply: Any, index: int) -> Any:
    return reply[index] if index >= 0 and isinstance(reply, list) else reply
