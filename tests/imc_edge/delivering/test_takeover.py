"""Events taken over: attempts are counted before they are made, so that one that ends processes is found."""

from __future__ import annotations

import asyncio
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
from imc_edge.delivering.takeover import TakenOver, Takeover
from tests.imc_edge.sending import Redis, Stream, entry

SHARD = 3
ENTRIES = [(f"{number}-0", entry(to=("bob@127.0.0.1",))) for number in range(4)]


class ProcessEndsError(BaseException):
    """Stands for the end of the process; what happens next happens in another one."""


class Handling:
    """Renders events to no MESSAGE at all; one of them may end the process or raise."""

    def __init__(
        self,
        redis: Redis,
        *,
        deadly: str = "",
        broken: str = "",
        deadly_to_send: str = "",
        unsendable: str = "",
    ) -> None:
        self.deadly, self.broken = deadly, broken
        self.deadly_to_send, self.unsendable = deadly_to_send, unsendable
        self.tried: list[str] = []
        self.sent: list[TakenOver] = []
        self.alone: list[str] = []
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

    async def learn(self, shard: int) -> None:
        """There is nothing to learn."""
        assert shard == SHARD

    async def send(self, taken_over: TakenOver, alone: bool) -> None:
        entry_id = taken_over.event.entry_id
        if entry_id == self.deadly_to_send:
            raise ProcessEndsError
        if entry_id == self.unsendable:
            raise ValueError("unsendable")
        self.sent.append(taken_over)
        if alone:
            self.alone.append(entry_id)

    async def run(self) -> list[str]:
        """The ids that were sent."""
        left = [each for each in ENTRIES if each[0] not in self.dead_letters()]
        self.sent = []
        await self.takeover.handle(SHARD, left, self.render, self.send, learn=self.learn)
        await self.takeover.finish()
        return [taken.event.entry_id for taken in self.sent]

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
    handling = Handling(redis)
    assert await handling.run() == ["0-0", "1-0", "2-0", "3-0"]
    assert [bool(each.settled) for each in handling.sent] == [False, False, True, False]
    assert handling.alone == []
    assert redis.tried == {}


async def test_an_event_settled_meanwhile_is_not_sent_again() -> None:
    """The record of who responded is deleted with its entry; it is neither rendered nor counted."""
    redis = Redis()
    redis.settled[keys.settled(SHARD, "2-0")] = {b"bob@127.0.0.1"}
    redis.gone = {"1-0"}
    handling = Handling(redis)
    await handling.run()
    assert [(each.event.entry_id, bool(each.settled)) for each in handling.sent] == [
        ("0-0", False),
        ("2-0", True),
        ("3-0", False),
    ]
    assert handling.tried == ["0-0", "2-0", "3-0"]
    assert redis.tried == {}


@pytest.mark.parametrize("when", ["deadly", "deadly_to_send"])
async def test_an_event_that_ends_processes_becomes_a_dead_letter_and_no_other_does(when: str) -> None:
    """All are tried together once, then the suspects one by one. Sending is part of an attempt."""
    redis = Redis()
    for _ in range(3):
        with pytest.raises(ProcessEndsError):
            await Handling(redis, **{when: "1-0"}).run()
    last = Handling(redis, **{when: "1-0"})
    assert await last.run() == ["0-0", "2-0", "3-0"]
    assert last.alone == ["0-0", "2-0", "3-0"]
    assert last.dead_letters() == ["1-0"]
    assert "1-0" not in last.tried
    assert redis.tried == {}
    assert last.counts.dead_letters.value == 1


async def test_a_request_of_the_same_id_does_not_count_for_an_event() -> None:
    """Both streams of a shard may give an entry the same id; their attempts are counted apart."""
    redis = Redis()
    redis.tried[keys.attempts(SHARD, "in", "1-0")] = 1000
    assert await Handling(redis).run() == ["0-0", "1-0", "2-0", "3-0"]


async def test_events_count_as_attempted_for_a_moment_after_they_were_sent() -> None:
    """Their requests go out only then; a process that ends by one of them leaves the count."""
    redis = Redis()
    handling = Handling(redis)
    await handling.takeover.handle(SHARD, ENTRIES, handling.render, handling.send, learn=handling.learn)
    assert set(redis.tried.values()) == {1}
    assert len(redis.tried) == len(ENTRIES)
    assert handling.takeover.untidy
    while handling.takeover.untidy:
        await asyncio.sleep(0.01)
        await handling.takeover.tidy()
    assert redis.tried == {}


@pytest.mark.parametrize("when", ["broken", "unsendable"])
async def test_an_event_that_raises_is_a_dead_letter_at_once(when: str) -> None:
    """It would raise again; the shard is not read again for it."""
    redis = Redis()
    handling = Handling(redis, **{when: "1-0"})
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
    await handling.takeover.finish()
    assert not handling.takeover.untidy
    assert redis.tried == {}


async def test_the_counts_are_taken_back_once_when_reading_and_draining_do_so() -> None:
    """A process that drains still ends the read that it has begun."""
    redis = Redis()
    handling = Handling(redis)
    takeover = handling.takeover
    for _ in range(2):
        await takeover.handle(SHARD, ENTRIES, handling.render, handling.send, learn=handling.learn)
    await asyncio.gather(takeover.finish(), takeover.finish(), takeover.tidy())
    assert redis.tried == {}
    assert not takeover.untidy
