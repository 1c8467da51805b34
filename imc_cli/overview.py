"""Reads the state of the whole service from Redis for `imc top`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from imc_common import keys
from imc_common.keys import Keys
from imc_common.settings import Settings
from imc_common.shards.group import count_pending
from imc_common.store import Command
from imc_common.store.protocols import CommandRunner
from imc_common.tracer import ROOMS, watch

BUSIEST = 50
PIPELINE = 400
_PER_SHARD = 10


@dataclass(slots=True)
class Shard:
    """One shard: its owners, the lengths of its streams, and all entries ever added to them."""

    number: int
    worker: str = ""
    edge: str = ""
    requests: int = 0
    requests_pending: int = 0
    requests_ever: int = 0
    events: int = 0
    events_pending: int = 0
    events_ever: int = 0
    rooms: int = 0
    dead: int = 0


@dataclass(slots=True)
class Overview:
    """The state at one moment. `at`: seconds of a monotonic clock."""

    at: float
    workers: list[str] = field(default_factory=list)
    edges: list[str] = field(default_factory=list)
    shards: list[Shard] = field(default_factory=list)
    busiest: dict[str, float] = field(default_factory=dict)
    memory: str = ""
    clients: int = 0


async def read(store: CommandRunner, settings: Settings, now: float) -> Overview:
    """The current state. Also requests the workers to count the requests of each room.

    Raises StoreUnreachable.
    """
    names = Keys(settings.rooms_table, settings.members_table)
    shards = range(1 << settings.hash_size)
    commands = [
        *watch(ROOMS),
        ("ZRANGE", keys.WORKERS, 0, -1),
        ("ZRANGE", keys.EDGES, 0, -1),
        ("ZREVRANGE", keys.BUSIEST, 0, BUSIEST - 1, "WITHSCORES"),
        ("INFO", "memory"),
        ("INFO", "clients"),
    ]
    _, _, workers, edges, busiest, memory, clients = await store.run(commands)
    per_shard = [command for shard in shards for command in _commands(shard, names)]
    replies: list[Any] = []
    for first in range(0, len(per_shard), PIPELINE):
        replies += await store.run(per_shard[first : first + PIPELINE])
    rows = [replies[first : first + _PER_SHARD] for first in range(0, len(replies), _PER_SHARD)]
    return Overview(
        now,
        [process.decode() for process in workers],
        [process.decode() for process in edges],
        [_shard(number, row) for number, row in zip(shards, rows, strict=True)],
        {busiest[i].decode(): float(busiest[i + 1]) for i in range(0, len(busiest), 2)},
        _info(memory, "used_memory_human"),
        int(_info(clients, "connected_clients") or 0),
    )


def _commands(shard: int, names: Keys) -> list[Command]:
    requests, events = keys.requests(shard), keys.events(shard)
    return [
        ("GET", keys.lease(shard, "worker")),
        ("GET", keys.lease(shard, "edge")),
        ("XLEN", requests),
        ("XINFO", "GROUPS", requests),
        ("XINFO", "STREAM", requests),
        ("XLEN", events),
        ("XINFO", "GROUPS", events),
        ("XINFO", "STREAM", events),
        ("ZCARD", names.rooms(shard)),
        ("XLEN", keys.dead(shard)),
    ]


def _shard(number: int, row: list[Any]) -> Shard:
    worker, edge, requests, requests_group, requests_about, events, events_group, events_about, *rest = row
    lengths = (_number(requests), _number(events))
    return Shard(
        number,
        _text(worker),
        _text(edge),
        lengths[0],
        count_pending(lengths[0], requests_group),
        _number(requests_about),
        lengths[1],
        count_pending(lengths[1], events_group),
        _number(events_about),
        *map(_number, rest),
    )


def _text(reply: Any) -> str:
    return reply.decode() if isinstance(reply, bytes) else ""


def _number(reply: Any) -> int:
    """A length; from XINFO STREAM the number of entries ever added."""
    if isinstance(reply, dict):  # a map in RESP3
        reply = [part for item in reply.items() for part in item]
    if isinstance(reply, list) and b"entries-added" in reply:
        reply = reply[reply.index(b"entries-added") + 1]
    return reply if isinstance(reply, int) else 0


def _info(reply: Any, name: str) -> str:
    lines = _text(reply).splitlines()
    return next((line.partition(":")[2] for line in lines if line.startswith(f"{name}:")), "")
