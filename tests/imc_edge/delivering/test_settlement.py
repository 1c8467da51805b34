"""What is recorded in Redis of an event's outcomes, when, and what if Redis refuses.

Also covers in_flight.py and outcome.py.
"""

from __future__ import annotations

import asyncio
import re

import pytest

from imc_common import keys
from imc_common.store import ReplyError
from imc_edge.delivering.settlement import MAX_FAILED, RETRY_SECONDS
from tests.imc_edge.sending import Sending, on_loopback

BOB = "bob@127.0.0.1:5071"
CAROL = "carol@127.0.0.1:5072"
DAVE = "dave@127.0.0.1:5073"


async def test_many_events_are_settled_by_one_command() -> None:
    """Events that end together are settled together."""
    async with Sending() as sending:
        ids = [await sending.event(to=(f"user{n}@127.0.0.1",)) for n in range(5)]
        for sent in list(sending.wires.sent):
            sending.deliver.response(sent.response(200))
        await sending.settle_down()
        assert sending.redis.of("settle_delivered") == [tuple(ids)]


async def test_a_failed_delivery_is_recorded_with_its_status() -> None:
    """The event ends all the same; `settle` gets every recipient's outcome."""
    async with Sending() as sending:
        entry_id = await sending.event(to=(BOB, CAROL))
        await sending.reply(sending.wires.sent[0])
        await sending.reply(sending.wires.sent[1], 486)
        (args,) = sending.redis.of("settle")
        assert (args[0], args[1]) == (entry_id, 1)
        assert args[5:] == (BOB, "200", "0", CAROL, "486", "0")
        assert sending.deliver.in_flight() == 0


@pytest.mark.parametrize(
    ("event", "status", "report"),
    [
        ("message", 404, "0"), ("message", 410, "0"), ("joined", 604, "0"), ("message", 480, "0"),
        ("message", 603, "0"), ("invited", 486, "1"), ("invited", 480, "1"), ("invited", 404, "1"),
    ],
)  # fmt: skip
async def test_failures_with_a_consequence_for_the_room_get_a_report(
    event: str, status: int, report: str
) -> None:
    """Invitations that fail in any way. Without history nothing follows from a message that nobody gets."""
    async with Sending() as sending:
        await sending.event(event, (BOB,))
        await sending.reply(sending.wires.sent[0], status)
        (args,) = sending.redis.of("settle")
        assert args[5:] == (BOB, str(status), report)


async def test_a_half_delivered_event_is_recorded_within_200_ms() -> None:
    """If the edge dies after that, only the other recipients get the message again."""
    async with Sending() as sending:
        entry_id = await sending.event(to=(BOB, CAROL, DAVE))
        await sending.reply(sending.wires.sent[0])
        await sending.pass_time(0.2)
        (args,) = sending.redis.of("settle")
        assert (args[0], args[1], args[5:]) == (entry_id, 0, (BOB, "200", "0"))
        await sending.reply(sending.wires.sent[1])
        await sending.pass_time(0.2)
        assert sending.redis.of("settle")[1][5:] == (CAROL, "200", "0")
        await sending.reply(next(sent for sent in sending.wires.sent if sent.recipient == DAVE))
        last = sending.redis.of("settle")[2]
        assert (last[1], last[5:]) == (1, (DAVE, "200", "0"))


async def test_a_failure_is_recorded_again_with_the_end_of_its_event() -> None:
    """A failover may have undone the first record and its report: the member would lose the message."""
    async with Sending(on_loopback(history_max_messages=500)) as sending:
        await sending.event(to=(BOB, CAROL, DAVE))
        await sending.reply(sending.wires.sent[0], 480)
        await sending.reply(sending.wires.sent[1], 486)
        await sending.pass_time(0.2)
        (first,) = sending.redis.of("settle")
        assert (first[1], first[5:]) == (0, (BOB, "480", "1", CAROL, "486", "0"))
        await sending.reply(sending.wires.sent[2])
        last = sending.redis.of("settle")[-1]
        assert (last[1], last[5:]) == (1, (DAVE, "200", "0", BOB, "480", "1"))
        assert 'imc_deliveries_total{outcome="480"} 1.0' in sending.metrics.page().decode()


async def test_settling_goes_on_after_an_outage_of_redis() -> None:
    """No outcome is lost or recorded twice."""
    async with Sending() as sending:
        entry_id = await sending.event(to=(BOB,))
        sending.redis.unreachable = True
        await sending.reply(sending.wires.sent[0])
        assert sending.deliver.in_flight(3) == 1
        sending.redis.unreachable = False
        await sending.until(lambda: sending.redis.of("settle_delivered") == [(entry_id,)])
        await sending.until(lambda: sending.deliver.in_flight() == 0)


async def test_a_settle_that_redis_always_refuses_makes_the_event_a_dead_letter() -> None:
    """Refusals that pass are retried without limit, the event's own fault `max_attempts` times."""
    async with Sending(on_loopback(max_attempts=3)) as sending:
        sending.redis.replies["settle"] = [ReplyError("OOM command not allowed")] * 3 + [
            ReplyError("WRONGTYPE Operation against a key")
        ] * 3
        await sending.event(to=(BOB,))
        await sending.reply(sending.wires.sent[0], 486)
        await sending.until(lambda: len(sending.redis.of("move_to_dead_letters")) == 1)
        await sending.settle_down()
        assert sending.deliver.in_flight() == 0


@pytest.mark.parametrize(("error", "is_noted"), [("OOM", True), ("WRONGTYPE", False)])
async def test_who_is_away_is_noted_once_redis_accepts_it(error: str, is_noted: bool) -> None:
    """A Redis whose memory is full takes the outcome. It takes the note later, without which the user's signs
    lead to nothing."""
    async with Sending(on_loopback(history_max_messages=500)) as sending:
        sending.redis.replies["SADD"] = [ReplyError(f"{error} for a test")] * 3
        await sending.event(to=(BOB,))
        await sending.reply(sending.wires.sent[0], 480)
        assert len(sending.redis.of("settle")) == 1
        await asyncio.sleep(4 * RETRY_SECONDS)
        await sending.settle_down()
        noted = {(where, args) for name, where, args in sending.redis.ran if name == "SADD"}
        assert noted == ({((keys.away_shards(BOB),), (3,))} if is_noted else set())


async def test_deliveries_are_counted_by_outcome() -> None:
    """Every delivery once."""
    async with Sending() as sending:
        await sending.event(to=(BOB, CAROL))
        await sending.reply(sending.wires.sent[0], 202)
        await sending.reply(sending.wires.sent[1], 404)
        page = sending.metrics.page().decode()
        assert 'imc_deliveries_total{outcome="200"} 1.0' in page
        assert 'imc_deliveries_total{outcome="404"} 1.0' in page
        assert "imc_events_total 1.0" in page


async def test_a_probe_in_vain_is_counted_apart() -> None:
    """Members who stay away for long must not look like failing deliveries."""
    async with Sending(on_loopback(history_max_messages=500)) as sending:
        await sending.event(to=(BOB,), history_id="5-0", catch_up="probe", wait="4000")
        await sending.reply(sending.wires.sent[0], 480)
        page = sending.metrics.page().decode()
        assert 'imc_deliveries_total{outcome="probe"} 1.0' in page
        assert 'outcome="480"' not in page


@pytest.mark.parametrize(("status", "given_up"), [(200, 2), (415, 2), (480, 0)])
async def test_what_a_probe_gives_up_is_counted(status: int, given_up: int) -> None:
    """If it finds its user there: the two messages before it have failed several times."""
    async with Sending(on_loopback(history_max_messages=500)) as sending:
        await sending.event(to=(BOB,), history_id="5-0", catch_up="probe", since="3-0", more=2)
        await sending.reply(sending.wires.sent[0], status)
        page = sending.metrics.page().decode()
        found = re.search(r'imc_deliveries_total{outcome="refused"} (\d+)', page)
        assert (int(found[1]) if found else 0) == given_up


async def test_a_probe_that_was_not_sent_gives_up_nothing() -> None:
    """Nobody has responded. A worker sees the same (`lua/welcome_back.lua`)."""
    async with Sending(on_loopback(history_max_messages=500)) as sending:
        await sending.event(to=("no-address",), history_id="5-0", catch_up="probe", since="3-0", more=2)
        assert sending.wires.sent == []
        assert 'outcome="probe"' in sending.metrics.page().decode()
        assert 'outcome="refused"' not in sending.metrics.page().decode()


def outcomes(settled: tuple[object, ...]) -> list[object]:
    """The recipients whose outcome a `settle` has recorded."""
    return list(settled[5::3])


async def test_many_failures_are_recorded_in_parts() -> None:
    """A room of silent members must not keep the shard's worker busy with reports for long."""
    members = tuple(f"user{number}@127.0.0.1" for number in range(150))
    async with Sending() as sending:
        entry_id = await sending.event(to=members)
        for sent in list(sending.wires.sent):
            sending.deliver.response(sent.response(486))
        await sending.until(lambda: sending.deliver.in_flight() == 0)
        parts = sending.redis.of("settle")
        assert {part[0] for part in parts} == {entry_id}
        assert all(len(outcomes(part)) <= MAX_FAILED for part in parts)
        assert [part[1] for part in parts] == [0] * (len(parts) - 1) + [1]
        assert sorted(each for part in parts for each in outcomes(part)) == sorted(members)
        assert 'imc_deliveries_total{outcome="486"} 150.0' in sending.metrics.page().decode()


async def test_an_edge_that_stops_records_all_failures_at_once() -> None:
    """Nothing is left to the next owner that this edge knows."""
    members = tuple(f"user{number}@127.0.0.1" for number in range(150))
    async with Sending() as sending:
        await sending.event(to=(*members, BOB))
        for sent in [each for each in sending.wires.sent if each.recipient != BOB]:
            sending.deliver.response(sent.response(486))
        (open_event,) = sending.deliver._events.by_shard[3].values()
        await sending.until(lambda: open_event.pending == 1)
        await sending.deliver.drain(sending.clock.now)
        parts = sending.redis.of("settle")
        assert sorted(each for part in parts for each in outcomes(part)) == sorted(members)
        assert [part[1] for part in parts] == [0] * len(parts)
