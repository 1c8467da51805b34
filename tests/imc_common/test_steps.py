"""Steps of messages: who follows them gets them, and who does not pays nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from imc_common import keys, steps
from imc_common.rooms.request import RequestData, RoomRequest
from imc_common.steps import Steps, unwatch, watch
from tests.fake_store import FakeStore
from tests.patience import PATIENCE

ROOM, ALICE, BOB = "chat-000@example.org", "alice@example.org", "bob@example.org"


@pytest.fixture
async def store() -> AsyncIterator[FakeStore]:
    """An empty store."""
    made = FakeStore()
    yield made
    await made.close()


def stepper(store: FakeStore, *, verbose: bool = False) -> Steps:
    """The steps of one process."""
    return Steps(store, "edge e1", verbose=verbose, wall=lambda: 1.7e9)


async def noted(store: FakeStore) -> list[dict[str, str]]:
    """What stands in the stream."""
    (entries,) = await store.run([("XRANGE", keys.TRACE, "-", "+")])
    text = [[part.decode() for part in fields] for _, fields in entries]
    return [dict(zip(flat[::2], flat[1::2], strict=True)) for flat in text]


async def test_nobody_follows(store: FakeStore) -> None:
    """Then `on` is false, and one look a second is all that is sent."""
    one = stepper(store)
    await one.look()
    await one.flush()
    assert not one.on
    assert len(store.ran) == 1


@pytest.mark.parametrize("watched", [ROOM, ALICE])
async def test_a_watched_address_has_its_steps_written(store: FakeStore, watched: str) -> None:
    """Room or user; others' are not. The stream and the wish for it end by themselves."""
    await store.run(watch(watched))
    one = stepper(store)
    await one.look()
    assert one.on
    one.note("received", ROOM, (ALICE,), "c1", size=5)
    one.note("received", "other@example.org", (BOB,), "c2")
    await one.flush()
    at = str(1_700_000_000_000)
    about = {"at": at, "process": "edge e1", "step": "received", "room": ROOM, "people": ALICE}
    assert await noted(store) == [about | {"call_id": "c1", "size": "5"}]
    ttls = await store.run([("PTTL", keys.TRACE), ("PTTL", keys.WATCHED)])
    assert all(0 < ttl <= 60_000 for ttl in ttls)
    await store.run(unwatch(watched))
    await one.look()
    assert not one.on


async def test_too_many_steps_are_left_out_and_counted(
    store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory and Redis are bounded."""
    monkeypatch.setattr(steps, "MOST_WAITING", 2)
    await store.run(watch(ROOM))
    one = stepper(store)
    await one.look()
    for _ in range(5):
        one.note("received", ROOM, (ALICE,), "c1")
    await one.flush()
    assert (await noted(store))[-1] == {"process": "edge e1", "left_out": "3"}
    await one.flush()
    assert len(await noted(store)) == 3


async def test_a_workers_entry_is_told_by_its_fields(store: FakeStore) -> None:
    """Type, people, result; never the body. `*rooms` counts requests by room."""
    await store.run(watch(ALICE, steps.ROOMS))
    one = stepper(store)
    await one.look()
    request = RoomRequest("invite", ALICE, ROOM, BOB, call_id="c1", data=RequestData(body=b"secret").pack())
    flat = [part.encode() if isinstance(part, str) else part for part in request.to_fields()]
    one.handled(flat, b"done")
    one.handled(flat, RuntimeError("broken"))
    await one.flush()
    first, second = await noted(store)
    assert (first["step"], first["people"], first["result"]) == ("handled", f"{ALICE} {BOB}", "done")
    assert second["result"] == "broken"
    assert "secret" not in str(first)
    (busiest,) = await store.run([("ZRANGE", keys.BUSIEST, 0, -1, "WITHSCORES")])
    assert busiest == [ROOM.encode(), b"2"]


async def test_at_level_debug_every_step_is_a_line_with_its_call_id(store: FakeStore) -> None:
    """So that one grep follows a message over edges and workers."""
    one = stepper(store, verbose=True)
    assert one.on
    with capture_logs() as lines:
        one.note("received", ROOM, (ALICE,), "c1", size=5)
    assert [(line["event"], line["call_id"], line["room"]) for line in lines] == [("received", "c1", ROOM)]
    await one.flush()
    assert await noted(store) == []


async def test_the_duty_outlives_an_outage(store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of that time are lost, nothing else."""
    monkeypatch.setattr(steps, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(steps, "FLUSH_SECONDS", 0.01)
    one = stepper(store)
    store.unreachable = True
    duty: asyncio.Task[Any] = asyncio.create_task(one.run())
    await asyncio.sleep(0.05)
    store.unreachable = False
    await store.run(watch(ROOM))
    async with asyncio.timeout(PATIENCE):
        while not await noted(store):
            one.note("received", ROOM, (ALICE,), "c1")
            await asyncio.sleep(0.01)
    assert not duty.done()
    duty.cancel()
