"""Many `accept` commands as few `accept_many`: one for each shard of a pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from imc_common.scripts import Scripts
from imc_common.store import Command

MOST: Final = 64
"""Requests of one script: half a millisecond of Redis's time."""


class AcceptBatch:
    """Merges the commands of a pipeline, and takes the replies apart again."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts
        self._accept = scripts.command("accept", (), ())[1]

    def merge(self, commands: Sequence[Command]) -> tuple[list[Command], list[list[int]]]:
        """Fewer commands, with the places in `commands` of what each of them stands for."""
        merged: list[Command] = []
        places: list[list[int]] = []
        open_groups: dict[tuple[str | bytes | int, ...], list[int]] = {}
        for at, command in enumerate(commands):
            if command[1] != self._accept:
                merged.append(command)
                places.append([at])
                continue
            alike = command[3:10]  # the keys and the settings
            group = open_groups.get(alike)
            if group is None or len(group) == MOST:
                group = open_groups[alike] = []
                merged.append(command)
                places.append(group)
            group.append(at)
        for index, group in enumerate(places):
            if len(group) > 1:
                merged[index] = self._many([commands[at] for at in group])
        return merged, places

    @staticmethod
    def spread(replies: Sequence[Any], places: Sequence[Sequence[int]]) -> list[Any]:
        """The replies to what was merged, in its order; an error is that of all of a group."""
        spread: list[Any] = [None] * sum(map(len, places))
        for reply, group in zip(replies, places, strict=True):
            if len(group) == 1:
                spread[group[0]] = reply
                continue
            each = reply if isinstance(reply, list) else [reply] * len(group)
            for at, result in zip(group, each, strict=True):
                spread[at] = result
        return spread

    def _many(self, commands: Sequence[Command]) -> Command:
        keys = [str(key) for key in commands[0][3:7]]
        args = [*commands[0][7:10]]
        for command in commands:
            args += (command[10], len(command) - 11, *command[11:])
        return self._scripts.command("accept_many", keys, args)
