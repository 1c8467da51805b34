"""Requests on their way into in-streams: those of one pipeline go in by one script.

On a Cluster it is one script for each shard: a script there has keys of one slot only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from imc_common import keys
from imc_common.keys import Keys
from imc_common.rooms.request import RETRANSMISSION_SECONDS
from imc_common.settings import Settings
from imc_common.store import Command, ReplyError
from imc_common.store.protocols import DurableScriptRunner
from imc_common.store.url import is_cluster

MAX_REQUESTS: Final = 128
"""Requests per script: a millisecond of Redis's time."""

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
        self._is_cluster = is_cluster(settings.db_url)
        self._keys = [keys.accepting(shard) for shard in range(1 << settings.hash_size)]
        self.reload(settings)

    def reload(self, settings: Settings) -> None:
        """Go on with these settings. `db_url` and `hash_size` stay what they were."""
        self._limits = (RETRANSMISSION_SECONDS * 1000, settings.max_backlog)
        names = Keys(settings.rooms_table, settings.members_table)
        counts_recipients = settings.max_deliveries_per_second > 0
        self._prefixes = [
            names.members(shard, "") if counts_recipients else "" for shard in range(len(self._keys))
        ]

    async def run(self, commands: Sequence[Command | Accept]) -> list[Any]:
        """The replies, in order, once what was written is as safe as the setting `durability` asks for.

        An error of a script is the reply to each request of the shard that causes it. Raises
        StoreUnreachable.
        """
        pipeline: list[Command] = []
        places: list[tuple[_Part | None, int]] = []  # of each command: its place in a script, or in pipeline
        scripts: list[_Script] = []
        latest: dict[int, _Script] = {}  # of each shard on a Cluster, otherwise of all
        for command in commands:
            if not isinstance(command, Accept):
                places.append((None, len(pipeline)))
                pipeline.append(command)
                continue
            # A script stands where its first request stood. So what is asked about a request behind it, by a
            # retransmission or a CANCEL, finds it accepted.
            shard = command.shard
            group = shard if self._is_cluster else 0
            script = latest.get(group)
            if script is None or script.size == MAX_REQUESTS:
                script = latest[group] = _Script(len(pipeline))
                scripts.append(script)
                pipeline.append(())
            script.size += 1
            part = script.parts.get(shard)
            if part is None:
                part = script.parts[shard] = _Part(shard, self._prefixes[shard])
            places.append((part, part.size))
            part.add(command)
        for script in scripts:
            pipeline[script.place] = self._command(list(script.parts.values()))
        replies = await self._store.run(pipeline, durable=True)
        for script in scripts:
            await self._note_results(list(script.parts.values()), replies[script.place])
        return [replies[index] if part is None else part.results[index] for part, index in places]

    def _command(self, parts: list[_Part]) -> Command:
        names: list[str] = []
        args: list[str | bytes | int] = [*self._limits]
        for part in parts:
            if names:
                args.append("")
            names += self._keys[part.shard]
            args += part.args
        return self._store.script("accept_many", names, args)

    async def _note_results(self, parts: list[_Part], reply: Any) -> None:
        """Hand out the reply of a script for these parts. Raises StoreUnreachable."""
        if len(parts) > 1 and isinstance(reply, ReplyError) and not reply.transient:
            # A shard has a key of a wrong type, say. The script has written nothing; the other shards go on.
            alone = await self._store.run([self._command([part]) for part in parts], durable=True)
            for part, of_part in zip(parts, alone, strict=True):
                await self._note_results([part], of_part)
            return
        for part in parts:
            if isinstance(reply, list):
                part.results, reply = reply[: part.size], reply[part.size :]
            else:
                part.results = [reply] * part.size


class _Script:
    """The requests of one script, by shard, while they are collected."""

    __slots__ = ("parts", "place", "size")

    def __init__(self, place: int) -> None:
        """``place``: where it stands in the pipeline."""
        self.place = place
        self.size = 0
        self.parts: dict[int, _Part] = {}


class _Part:
    """The requests of one shard in a script: its arguments, and later its results."""

    __slots__ = ("args", "results", "shard", "size")

    def __init__(self, shard: int, members_prefix: str) -> None:
        self.shard = shard
        self.size = 0
        self.args: list[str | bytes | int] = [members_prefix]
        self.results: list[Any] = []

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
