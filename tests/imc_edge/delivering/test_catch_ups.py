"""How many parts of histories are handed out at a time, and what becomes of them when things fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from imc_common.metrics import Metrics
from imc_common.rooms.event import CATCH_UP, REPLAY
from imc_common.settings import Settings
from imc_common.store import ReplyError
from imc_common.tracer import Tracer
from imc_edge.delivering import catch_ups as module
from imc_edge.delivering.catch_ups import MAX_PARTS, MAX_PENDING, RECENT_SECONDS, CatchUps
from tests.imc_edge.delivering.test_deliver import BOB, CAROL
from tests.imc_edge.sending import ROOM, Redis, Sending, entry, on_loopback

USER = "user{}@127.0.0.1"
ANNA = "anna@127.0.0.1"


def handed_out(redis: Redis) -> list[str]:
    """The ids of the work items that were handed out, in order."""
    return [str(args[0]) for args in redis.of("hand_out")]


@pytest.fixture
async def sending() -> AsyncIterator[Sending]:
    """An edge of a service whose rooms keep messages; its catch-ups are moved on by the test."""
    async with Sending(on_loopback(history_max_messages=500)) as running:
        yield running


async def ask(sending: Sending, count: int, *, again: bool = False) -> None:
    """So many users are back, each in one room."""
    for number in range(1, count + 1):
        fields = entry(CATCH_UP, (USER.format(number),), **{"from": ROOM})
        await sending.feed(f"{number}-0", fields, again=again)


async def test_a_part_is_handed_out_at_once_when_there_is_nothing_else_to_do(sending: Sending) -> None:
    """With the script's keys and settings; then nothing of the work item is in flight."""
    sending.redis.replies["hand_out"] = []
    await ask(sending, 1)
    await sending.until(lambda: handed_out(sending.redis) == ["1-0"])
    assert sending.deliver.in_flight() == 0
    assert sending.wires.sent == []
    assert sending.redis.of("settle_delivered") == []


async def test_a_device_gets_its_first_part_a_moment_later(
    sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linphone loses what comes before it has stored a new room. The next parts do not wait."""
    monkeypatch.setattr(module, "DEVICE_SECONDS", 0.05)
    device = "bob@127.0.0.1;gr=1"
    fields = entry(CATCH_UP, (device,), **{"from": ROOM})
    await sending.feed("1-0", fields)
    await sending.until(lambda: handed_out(sending.redis) == ["1-0"])
    monkeypatch.setattr(module, "DEVICE_SECONDS", 3600.0)
    await sending.feed("2-0", fields)
    await sending.until(lambda: handed_out(sending.redis) == ["1-0", "2-0"])
    sending.clock.now += 61.0
    await sending.feed("3-0", fields)
    assert len(handed_out(sending.redis)) == 2
    assert sending.deliver.in_flight() == 1
    await sending.deliver.drain(sending.clock.now)
    assert sending.deliver.in_flight() == 0


async def test_a_work_item_of_a_former_owner_is_handed_out(sending: Sending) -> None:
    """It comes again like any other event."""
    await ask(sending, 1, again=True)
    await sending.until(lambda: handed_out(sending.redis) == ["1-0"])


async def test_a_work_item_shows_that_its_user_is_back(sending: Sending) -> None:
    """The announcement to the edges may have got lost."""
    await sending.event(to=(BOB,))
    await sending.reply(sending.wires.sent[0], 480)
    await sending.feed("5-0", entry(CATCH_UP, (BOB,), **{"from": ROOM}))
    await sending.event(to=(BOB,), room="chat-001@example.org")
    assert len(sending.wires.sent) == 2


async def test_nothing_is_handed_out_before_redis_knows_what_has_failed(sending: Sending) -> None:
    """The message waits for carol. A new owner of the shard must not send it to bob before what he missed."""
    await sending.event(to=(BOB, CAROL))
    await sending.reply(sending.wires.sent[0], 480)
    await sending.feed("5-0", entry(CATCH_UP, (BOB,), **{"from": ROOM}))
    await sending.feed("6-0", entry(CATCH_UP, (BOB,), room="chat-001@example.org"))
    await sending.feed("7-0", entry(CATCH_UP, (CAROL,), **{"from": ROOM}))
    await sending.until(lambda: len(handed_out(sending.redis)) == 2)
    assert handed_out(sending.redis) == ["6-0", "7-0"]
    await sending.pass_time(0.2)  # what is known of an open event is recorded
    await sending.until(lambda: "5-0" in handed_out(sending.redis))
    ran = [name for name, _, _ in sending.redis.ran]
    assert ran.index("settle") < len(ran) - 1 - ran[::-1].index("hand_out")


async def test_what_was_recorded_of_a_lost_shard_holds_up_nothing(sending: Sending) -> None:
    """Its new owner hands out."""
    await sending.event(to=(BOB, CAROL))
    await sending.reply(sending.wires.sent[0], 480)
    events = sending.deliver.context.events
    assert events.is_unrecorded(ROOM, BOB)
    assert not events.is_unrecorded(ROOM, CAROL)
    sending.owner.shards -= {3}
    sending.turn()
    assert not events.is_unrecorded(ROOM, BOB)


async def test_a_draining_edge_leaves_what_waits_to_the_next_owner(sending: Sending) -> None:
    """It does not wait for a herd of users."""
    for number in range(MAX_PENDING):
        sending.deliver._catch_ups.started(sending.outgoing("message", f"9-{number}", (BOB,)))
    await ask(sending, 3)
    assert sending.deliver.in_flight() == 3
    await sending.deliver.drain(sending.clock.now + 30)
    assert (sending.deliver.in_flight(), handed_out(sending.redis)) == (0, [])


class Pace:
    """Catch-ups alone, with a clock that stands still unless the test moves it."""

    def __init__(self) -> None:
        self.sending = Sending(on_loopback(history_max_messages=500))
        self.metrics = Metrics()
        self.catch_ups = CatchUps(
            self.sending.deliver.context,
            self.sending.redis,
            Settings(history_max_messages=500),
            self.metrics,
            Tracer(self.sending.redis, "edge", verbose=False, wall=self.sending.clock.wall),
            wall=self.sending.clock.wall,
        )

    def add(self, count: int) -> None:
        """So many work items are read."""
        for number in range(1, count + 1):
            outgoing = self.sending.outgoing(CATCH_UP, f"{number}-0", (USER.format(number),))
            self.sending.deliver.context.events.add(outgoing)
            self.catch_ups.add(outgoing)

    def ask(self, entry_id: str, user: str, text: str) -> None:
        """A user's `#history` is read."""
        outgoing = self.sending.outgoing(CATCH_UP, entry_id, (user,), catch_up=REPLAY, text=text, actor=user)
        outgoing.pending = 1
        self.sending.deliver.context.events.add(outgoing)
        self.catch_ups.add(outgoing)

    def start(self, count: int) -> list[Any]:
        """So many messages from histories are in flight."""
        started = [self.sending.outgoing("message", f"9-{number}", (BOB,)) for number in range(count)]
        for each in started:
            self.catch_ups.started(each)
        return started

    @property
    def shown(self) -> int:
        """Answers handed out so far."""
        return len(self.sending.redis.of("show_history"))

    @property
    def done(self) -> int:
        """Parts handed out so far."""
        return len(handed_out(self.sending.redis))


@pytest.fixture
def pace(monkeypatch: pytest.MonkeyPatch) -> Pace:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    return Pace()


@pytest.mark.uncompiled
async def test_an_idle_process_hands_out_more_each_time_and_a_late_one_less(
    pace: Pace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more, up to the maximum; half as many when a pause takes too long."""
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.0)
    pace.add(1000)
    counts: list[int] = []
    go = pace.catch_ups.go

    async def counted() -> None:
        before = pace.done
        await go()
        counts.append(pace.done - before)

    monkeypatch.setattr(pace.catch_ups, "go", counted)
    running = asyncio.create_task(pace.catch_ups.run())
    await pace.sending.until(lambda: len(counts) >= MAX_PARTS + 3)
    assert counts[: MAX_PARTS + 2] == [*range(1, MAX_PARTS + 1), MAX_PARTS, MAX_PARTS]
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_nothing_is_handed_out_while_the_edge_is_full_or_enough_is_in_flight(pace: Pace) -> None:
    """Live messages come first; and one herd does not fill the edge."""
    pace.add(3)
    context = pace.sending.deliver.context
    context.load.responsive = 10**6
    await pace.catch_ups.go()
    assert pace.done == 0
    context.load.responsive = 0
    started = pace.start(MAX_PENDING)
    await pace.catch_ups.go()
    assert pace.done == 0
    started[0].pending = 0  # it has ended
    await pace.catch_ups.go()
    assert pace.done == 1


async def test_users_that_do_not_respond_hold_up_the_others_for_a_second_only(pace: Pace) -> None:
    """Each would for 32 s otherwise."""
    pace.add(1)
    pace.start(MAX_PENDING)
    pace.sending.clock.now += RECENT_SECONDS + 0.1
    await pace.catch_ups.go()
    assert pace.done == 1


def test_answers_take_turns_by_user_and_count_as_what_they_may_have(pace: Pace) -> None:
    """Each user's own answers keep their order."""
    asked = {"1-0": (ANNA, "100"), "2-0": (ANNA, ""), "3-0": (f"{ANNA}:5070", "7"), "4-0": (BOB, "more")}
    for entry_id, (who, text) in asked.items():
        pace.ask(entry_id, who, text)
    taken = [pace.catch_ups._next_one() for _ in range(5)]
    assert [(item.event.entry_id, item.parts) for item in taken if item] == [
        ("1-0", 10),
        ("4-0", 10),
        ("2-0", 2),
        ("3-0", 1),
    ]


async def test_an_answer_is_paid_for_by_what_is_handed_out_next(pace: Pace) -> None:
    """An answer of 100 messages counts as ten parts. Parts and answers take turns."""
    pace.add(30)
    for number in (1, 2):
        pace.ask(f"8-{number}", USER.format(number), "100")
    pace.catch_ups._parts = MAX_PARTS
    per_go = []
    for _ in range(4):
        before = pace.done, pace.shown
        await pace.catch_ups.go()
        per_go.append((pace.done - before[0], pace.shown - before[1]))
    # Answer: 8 - 10 = -2. Part 1 of the 6 left, then an answer: 5 - 10 = -5. Three parts of the 3 left.
    assert per_go == [(0, 1), (1, 1), (3, 0), (8, 0)]


async def test_an_answer_that_redis_did_not_take_keeps_its_place(pace: Pace) -> None:
    """It is the next one of its user. One that was refused, because a key has a wrong type, is the last."""
    pace.ask("1-0", BOB, "1")
    pace.ask("2-0", BOB, "1")
    pace.sending.redis.unreachable = True
    await pace.catch_ups.go()
    pace.sending.redis.unreachable = False
    pace.sending.redis.replies["show_history"] = [ReplyError("WRONGTYPE"), 50]
    for _ in range(3):
        await pace.catch_ups.go()
    shown = [str(args[0]) for args in pace.sending.redis.of("show_history")]
    assert shown == ["1-0"]  # the replies that were planned are not noted
    assert "imc_caught_up_total 0.0" in pace.metrics.page().decode()  # the fifty messages were not missed
    assert pace.sending.deliver.in_flight() == 0


async def test_an_answer_for_a_device_waits_for_nothing(sending: Sending) -> None:
    """It knows the room: its user has asked there."""
    fields = entry(CATCH_UP, ("bob@127.0.0.1;gr=1",), **{"from": BOB, "catch_up": REPLAY})
    await sending.feed("1-0", fields)
    await sending.until(lambda: len(sending.redis.of("show_history")) == 1)
    assert sending.deliver.in_flight() == 0


async def test_a_draining_edge_leaves_answers_to_the_next_owner(sending: Sending) -> None:
    for number in range(MAX_PENDING):
        sending.deliver._catch_ups.started(sending.outgoing("message", f"9-{number}", (BOB,)))
    await sending.feed("1-0", entry(CATCH_UP, (BOB,), **{"from": BOB, "catch_up": REPLAY}))
    assert sending.deliver.in_flight() == 1
    await sending.deliver.drain(sending.clock.now + 30)
    assert (sending.deliver.in_flight(), sending.redis.of("show_history")) == (0, [])


async def test_while_redis_is_unreachable_what_waits_keeps_its_order(pace: Pace) -> None:
    """A script that did run finds its entry gone."""
    pace.add(2)
    pace.sending.redis.unreachable = True
    await pace.catch_ups.go()
    pace.sending.redis.unreachable = False
    await pace.catch_ups.go()
    await pace.catch_ups.go()
    assert handed_out(pace.sending.redis) == ["1-0", "2-0"]


async def test_a_room_whose_history_cannot_be_read_does_not_hold_up_others(pace: Pace) -> None:
    """It is tried again behind them, and the log says why."""
    pace.add(2)
    pace.sending.redis.replies["hand_out"] = [ReplyError("WRONGTYPE history"), 7]
    with capture_logs() as lines:
        await pace.catch_ups.go()
        await pace.catch_ups.go()
        await pace.catch_ups.go()
    assert [(line["event"], line["user"]) for line in lines] == [("history not handed out", USER.format(1))]
    assert handed_out(pace.sending.redis) == ["1-0"]
    assert "imc_caught_up_total 7.0" in pace.metrics.page().decode()
    assert pace.sending.deliver.in_flight() == 0


async def test_a_shard_that_was_lost_is_left_to_its_new_owner(pace: Pace) -> None:
    """Nothing is handed out of it."""
    pace.add(2)
    pace.sending.owner.shards = frozenset()
    await pace.catch_ups.go()
    assert pace.done == 0
