"""Writes rooms to Redis: one atomic script for each room, many of them in one pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from imc_cli.migration.rows import Room
from imc_common import keys
from imc_common.keys import Keys, shard_of
from imc_common.settings import Settings
from imc_common.store import Command, Store

BATCH = 200


@dataclass(slots=True)
class ImportReport:
    """The number of rooms that were ``created``, ``completed`` (an existing room got further members) or
    ``unchanged``; the rooms not changed because only one of database and Redis has them as private."""

    created: int = 0
    completed: int = 0
    unchanged: int = 0
    differing: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


async def load(store: Store, settings: Settings, rooms: Iterable[Room], now_ms: int) -> ImportReport:
    """Write all rooms to Redis. A second run with the same rooms changes nothing.

    Raises StoreUnreachable: the rooms written until then stay, and the import can be run again.
    """
    report = ImportReport()
    for batch in _batches(rooms):
        commands = [_import_room(store, settings, room, now_ms) for room in batch]
        for room, reply in zip(batch, await store.run(commands), strict=True):
            _count(report, room, reply)
    return report


def _count(report: ImportReport, room: Room, reply: object) -> None:
    match reply:
        case b"made":
            report.created += 1
        case b"completed":
            report.completed += 1
        case b"unchanged":
            report.unchanged += 1
        case b"differs":
            report.differing.append(room.address)
        case _:
            report.failed.append(f"{room.address}: {reply}")


def _batches(rooms: Iterable[Room]) -> Iterator[list[Room]]:
    iterator = iter(rooms)
    while batch := list(islice(iterator, BATCH)):
        yield batch


def _import_room(store: Store, settings: Settings, room: Room, now_ms: int) -> Command:
    table = Keys(settings.rooms_table, settings.members_table)
    shard = shard_of(room.address, settings.hash_size)
    members = [text for pair in room.members.items() for text in pair]
    return store.script(
        "import_room",
        [
            table.rooms(shard),
            table.room(shard, room.address),
            table.members(shard, room.address),
            keys.events(shard),
        ],
        [
            room.address,
            int(room.private),
            room.owner,
            now_ms,
            keys.private_rooms(shard, ""),
            keys.owned_rooms(shard, ""),
            *members,
        ],
    )
