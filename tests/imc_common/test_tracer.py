"""The tracer: steps of messages for `imc trace` and `imc top`. Without them a step costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from imc_common import keys, tracer
from imc_common.rooms.request import RequestData, RoomRequest
from imc_common.tracer import Tracer, unwatch, watch
from tests.fake_store import FakeStore
from tests.patience import PATIENCE

ROOM, ALICE, BOB = "chat-000@example.org", "alice@example.org", "bob@example.org"


@pytest.fixture
async def store() -> AsyncIterator[FakeStore]:
    """An empty store."""
    made = FakeStore()
    yield made
    await made.close()


def tracer_of(store: FakeStore, *, verbose: bool = False) -> Tracer:
    """The tracer of one process."""
    return Tracer(store, "edge e1", verbose=verbose, wall=lambda: 1.7e9)


async def recorded(store: FakeStore) -> list[dict[str, str]]:
    """The entries of the stream."""
    (entries,) = await store.run([("XRANGE", keys.TRACE, "-", "+")])
    text = [[part.decode() for part in fields] for _, fields in entries]
    return [dict(zip(flat[::2], flat[1::2], strict=True)) for flat in text]


async def test_without_watched_addresses_nothing_is_written(store: FakeStore) -> None:
    """The tracer is not enabled, and only reads the set of watched addresses."""
    one = tracer_of(store)
    await one.read_watched()
    await one.flush()
    assert not one.enabled
    assert len(store.ran) == 1


@pytest.mark.parametrize("watched", [ROOM, ALICE])
async def test_the_steps_of_a_watched_address_are_written(store: FakeStore, watched: str) -> None:
    """Of a room or a user, and of no other. Stream and set expire."""
    await store.run(watch(watched))
    one = tracer_of(store)
    await one.read_watched()
    assert one.enabled
    one.record("received", ROOM, (ALICE,), "c1", size=5)
    one.record("received", "other@example.org", (BOB,), "c2")
    await one.flush()
    at = str(1_700_000_000_000)
    about = {"at": at, "process": "edge e1", "step": "received", "room": ROOM, "users": ALICE}
    assert await recorded(store) == [about | {"call_id": "c1", "size": "5"}]
    ttls = await store.run([("PTTL", keys.TRACE), ("PTTL", keys.WATCHED)])
    assert all(0 < ttl <= 60_000 for ttl in ttls)
    await store.run(unwatch(watched))
    await one.read_watched()
    assert not one.enabled


async def test_steps_beyond_the_limit_are_counted(store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the memory of the process and of Redis is limited."""
    monkeypatch.setattr(tracer, "MAX_PENDING", 2)
    await store.run(watch(ROOM))
    one = tracer_of(store)
    await one.read_watched()
    for _ in range(5):
        one.record("received", ROOM, (ALICE,), "c1")
    await one.flush()
    assert (await recorded(store))[-1] == {"process": "edge e1", "left_out": "3"}
    await one.flush()
    assert len(await recorded(store)) == 3


async def test_the_rooms_that_are_counted_are_bounded(
    store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may be many, and it may be long until Redis can be told."""
    monkeypatch.setattr(tracer, "MAX_ROOMS", 3)
    await store.run(watch(tracer.ROOMS))
    one = tracer_of(store)
    await one.read_watched()
    for number in (0, 1, 2, 3, 4, 0):
        request = RoomRequest("message", ALICE, f"chat-{number}@example.org", data=RequestData().pack())
        one.handled(
            [part.encode() if isinstance(part, str) else part for part in request.to_fields()], b"done"
        )
    await one.flush()
    (counts,) = await store.run([("ZRANGE", keys.BUSIEST, 0, -1, "WITHSCORES")])
    assert counts == [b"chat-1@example.org", b"1", b"chat-2@example.org", b"1", b"chat-0@example.org", b"2"]


async def test_a_handled_entry_is_recorded_without_its_body(store: FakeStore) -> None:
    """Type, users and result. `*rooms` counts requests by room."""
    await store.run(watch(ALICE, tracer.ROOMS))
    one = tracer_of(store)
    await one.read_watched()
    request = RoomRequest(
        "invite", ALICE, ROOM, user=BOB, data=RequestData(body=b"secret", call_id="c1").pack()
    )
    flat = [part.encode() if isinstance(part, str) else part for part in request.to_fields()]
    one.handled(flat, b"done")
    one.handled(flat, RuntimeError("broken"))
    await one.flush()
    first, second = await recorded(store)
    assert (first["step"], first["users"], first["result"]) == ("handled", f"{ALICE} {BOB}", "done")
    assert second["result"] == "broken"
    assert "secret" not in str(first)
    (busiest,) = await store.run([("ZRANGE", keys.BUSIEST, 0, -1, "WITHSCORES")])
    assert busiest == [ROOM.encode(), b"2"]


async def test_at_level_debug_every_step_is_a_log_line_with_the_call_id(store: FakeStore) -> None:
    """One grep follows a message over edges and workers."""
    one = tracer_of(store, verbose=True)
    assert one.enabled
    with capture_logs() as lines:
        one.record("received", ROOM, (ALICE,), "c1", size=5)
    assert [(line["event"], line["call_id"], line["room"]) for line in lines] == [("received", "c1", ROOM)]
    await one.flush()
    assert await recorded(store) == []


async def test_the_tracer_continues_after_an_outage(
    store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the steps during the outage are lost."""
    monkeypatch.setattr(tracer, "READ_SECONDS", 0.01)
    monkeypatch.setattr(tracer, "FLUSH_SECONDS", 0.01)
    one = tracer_of(store)
    store.unreachable = True
    duty: asyncio.Task[Any] = asyncio.create_task(one.run())
    await asyncio.sleep(0.05)
    store.unreachable = False
    await store.run(watch(ROOM))
    async with asyncio.timeout(PATIENCE):
        while not await recorded(store):
            one.record("received", ROOM, (ALICE,), "c1")
            await asyncio.sleep(0.01)
    assert not duty.done()
    duty.cancel()
