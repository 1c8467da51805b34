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

        An error of a script is the reply to each request in it. The scripts run before the other commands, so
        that whatever else is asked about a request finds it accepted. Raises StoreUnreachable.
        """
        by_shard: dict[int, list[tuple[int, Accept]]] = {}
        others: list[tuple[int, Command]] = []
        for place, command in enumerate(commands):
            if isinstance(command, Accept):
                by_shard.setdefault(command.shard, []).append((place, command))
            else:
                others.append((place, command))
        groups = [
            requests[start : start + MAX_REQUESTS]
            for requests in by_shard.values()
            for start in range(0, len(requests), MAX_REQUESTS)
        ]
        pipeline = [*map(self._script, groups), *[command for _, command in others]]
        replies = await self._store.run(pipeline, durable=True)

        in_order: list[Any] = [None] * len(commands)
        for group, reply in zip(groups, replies, strict=False):  # the others' replies follow
            results = reply if isinstance(reply, list) else [reply] * len(group)
            for (place, _), result in zip(group, results, strict=True):
                in_order[place] = result
        for (place, _), reply in zip(others, replies[len(groups) :], strict=True):
            in_order[place] = reply
        return in_order

    def _script(self, group: Sequence[tuple[int, Accept]]) -> Command:
        """The script that accepts these requests, which are of one shard."""
        shard = group[0][1].shard
        args: list[str | bytes | int] = [*self._limits[shard]]
        for _, accept in group:
            args += (accept.digest, len(accept.fields), *accept.fields)
        return self._store.script("accept_many", self._keys[shard], args)
