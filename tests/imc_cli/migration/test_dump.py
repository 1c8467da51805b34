"""Rooms out of Redis, on fakeredis."""

from __future__ import annotations

from typing import Any

from imc_cli.migration.dump import dump
from imc_cli.migration.load import load
from imc_cli.migration.rows import Room
from imc_common.keys import Keys, shard_of
from imc_common.settings import Settings
from tests.fake_store import FakeStore

ROOMS = [
    Room(
        "a@example.org", private=False, members={"alice@example.org": "owner", "bob@example.org": "invited"}
    ),
    Room("b@example.org", private=True, members={"bob@192.0.2.1:5070": "owner"}),
]


async def test_rooms_are_exported_whatever_else_they_keep() -> None:
    """State of kinds that only a later version knows is not exported and does no harm."""
    fake = FakeStore()
    store: Any = fake
    await load(store, Settings(), ROOMS, 1)
    key = Keys().room(shard_of("a@example.org", 4), "a@example.org")
    await store.run([("HSET", key, "motto", b"\xff", "mood:bob@example.org", "fine")])
    assert sorted([room async for room in dump(store, Settings())], key=lambda room: room.address) == ROOMS
    await fake.close()
