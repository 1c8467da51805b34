"""Events taken over: attempts are counted before they are made, so that one that ends processes is found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from imc_common import keys
from imc_common.keys import Keys
from imc_common.metrics import Metrics
from imc_common.rooms.event import Event
from imc_common.store import Command, StoreUnreachable
from imc_edge.delivering.counts import DeliveryCounts
from imc_edge.delivering.outbound import MessageTemplate
from imc_edge.delivering.takeover import Takeover
from tests.imc_edge.sending import Redis, Stream, entry

SHARD = 3
ENTRIES = [(f"{number}-0", entry(to=("bob@127.0.0.1",))) for number in range(4)]


class ProcessEndsError(BaseException):
    """Stands for the end of the process; what happens next happens in another one."""


class Handling:
    """Renders events to no MESSAGE at all; one of them may end the process or raise."""

    def __init__(self, redis: Redis, *, deadly: str = "", broken: str = "") -> None:
        self.deadly, self.broken = deadly, broken
        self.tried: list[str] = []
        self.source = Stream()
        self.counts = DeliveryCounts(Metrics())
        self.takeover = Takeover(
            redis, self.source, self.counts, names=Keys(), max_attempts=3, wall=lambda: 1.0
        )

    def render(self, entry_id: str, shard: int, fields: list[bytes]) -> tuple[Event, list[MessageTemplate]]:
        self.tried.append(entry_id)
        if entry_id == self.deadly:
            raise ProcessEndsError
        if entry_id == self.broken:
            raise ValueError("broken")
        return Event.from_fields(entry_id, shard, fields), []

    async def run(self) -> list[str]:
        """The ids that can be sent."""
        left = [each for each in ENTRIES if each[0] not in self.dead_letters()]
        return [taken.event.entry_id for taken in await self.takeover.prepare(SHARD, left, self.render)]

    def dead_letters(self) -> list[str]:
        return [args[0] for args in redis_of(self).of("move_to_dead_letters")]


def redis_of(handling: Handling) -> Redis:
    redis = handling.takeover._store
    assert isinstance(redis, Redis)
    return redis


async def test_events_taken_over_are_rendered_in_order_and_leave_no_count() -> None:
    """Together with the recipients that have responded already."""
    redis = Redis()
    redis.settled[keys.settled(SHARD, "2-0")] = {b"bob@127.0.0.1"}
    taken = await Handling(redis).takeover.prepare(SHARD, ENTRIES, Handling(redis).render)
    assert [each.event.entry_id for each in taken] == ["0-0", "1-0", "2-0", "3-0"]
    assert [bool(each.settled) for each in taken] == [False, False, True, False]
    assert redis.tried == {}


async def test_an_event_settled_meanwhile_is_not_sent_again() -> None:
    """The record of who responded is deleted with its entry; it is neither rendered nor counted."""
    redis = Redis()
    redis.settled[keys.settled(SHARD, "2-0")] = {b"bob@127.0.0.1"}
    redis.gone = {"1-0"}
    handling = Handling(redis)
    taken = await handling.takeover.prepare(SHARD, ENTRIES, handling.render)
    assert [(each.event.entry_id, bool(each.settled)) for each in taken] == [
        ("0-0", False),
        ("2-0", True),
        ("3-0", False),
    ]
    assert handling.tried == ["0-0", "2-0", "3-0"]
    assert redis.tried == {}


async def test_an_event_that_ends_processes_becomes_a_dead_letter_and_no_other_does() -> None:
    """All are tried together once, then the suspects one by one."""
    redis = Redis()
    for _ in range(3):
        with pytest.raises(ProcessEndsError):
            await Handling(redis, deadly="1-0").run()
    last = Handling(redis, deadly="1-0")
    assert await last.run() == ["0-0", "2-0", "3-0"]
    assert last.dead_letters() == ["1-0"]
    assert "1-0" not in last.tried
    assert redis.tried == {}
    assert last.counts.dead_letters.value == 1


async def test_a_request_of_the_same_id_does_not_count_for_an_event() -> None:
    """Both streams of a shard may give an entry the same id; their attempts are counted apart."""
    redis = Redis()
    redis.tried[keys.attempts(SHARD, "in", "1-0")] = 1000
    assert await Handling(redis).run() == ["0-0", "1-0", "2-0", "3-0"]


async def test_an_event_that_raises_is_a_dead_letter_at_once() -> None:
    """It would raise again; the shard is not read again for it."""
    redis = Redis()
    handling = Handling(redis, broken="1-0")
    assert await handling.run() == ["0-0", "2-0", "3-0"]
    assert handling.source.resynced == []
    assert handling.dead_letters() == ["1-0"]
    assert redis.tried == {}


class Fickle(Redis):
    """Becomes unreachable when counts are removed for the second time since it was reachable."""

    def __init__(self) -> None:
        super().__init__()
        self.patience = 1

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        if commands and commands[0][0] == "DEL":
            self.patience -= 1
            if not self.patience:
                raise StoreUnreachable("unreachable")
        return await super().run(commands)


async def test_an_outage_of_redis_does_not_count_as_an_attempt() -> None:
    """However often Redis becomes unreachable after an attempt was counted."""
    redis = Fickle()
    handling = Handling(redis)
    for attempt in range(5):
        redis.patience = 2 if attempt else 1
        with pytest.raises(StoreUnreachable):
            await handling.run()
    redis.patience = 9
    assert await handling.run() == ["0-0", "1-0", "2-0", "3-0"]
    assert redis.tried == {}


async def test_attempt_counts_left_by_an_outage_are_removed_for_lost_shards_too() -> None:
    """The next owner must not find our attempt counted."""
    redis = Fickle()
    handling = Handling(redis)
    with pytest.raises(StoreUnreachable):
        await handling.run()
    assert set(redis.tried.values()) == {1}
    assert handling.takeover.untidy
    redis.patience = 9
    await handling.takeover.tidy()
    assert not handling.takeover.untidy
    assert redis.tried == {}
