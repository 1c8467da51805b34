"""A new owner of a shard sends nothing that would overtake what failed at the former one."""

from __future__ import annotations

import pytest

from imc_common import keys
from tests.imc_edge.delivering.test_away_rules import got, keeping_history, outcomes, say, stored
from tests.imc_edge.delivering.test_deliver import BOB
from tests.imc_edge.sending import ROOM, Sending, entry


def report(position: str, status: str = "480", *, event: str = "message", user: str = BOB) -> list[object]:
    """An entry of the in-stream that no worker has handled yet."""
    about = {"type": "delivery_report", "event": event, "from": user, "room": ROOM, "status": status}
    fields = {**about, "of": position, "history_id": position, "data": ""}
    return [b"9-9", [part.encode() for pair in fields.items() for part in pair]]


async def test_a_message_read_for_the_first_time_does_not_overtake_one_that_failed_before() -> None:
    """The former owner has died; its report waits for the worker, and the member is not marked yet."""
    async with keeping_history() as sending:
        sending.redis.requests = [report("0-5")]
        await say(sending, "m1")
        assert got(sending) == []
        assert outcomes(sending) == [("away", "1")]
        await stored(sending, "0-5", "part")
        await sending.reply(sending.wires.sent[-1])
        await say(sending, "m2")
        assert got(sending) == [b"0-5", b"m2"]


async def test_a_message_emitted_before_the_member_was_marked_is_not_sent() -> None:
    """The worker has handled the report, and the message was in the stream by then."""
    async with keeping_history() as sending:
        sending.redis.newest_event = b"1-0"
        sending.redis.away = {BOB: b"0-5"}
        await say(sending, "m1")
        assert got(sending) == []
        sending.redis.away = {}
        await say(sending, "m2")
        assert got(sending) == [b"m2"]


@pytest.mark.parametrize(
    "waiting",
    [
        report("0-5", "603"),
        report("0-5", "200"),
        report("0-5", event="invited"),
        report("0-5", user="carol@127.0.0.1:5072"),
        report("0-5", user="no address"),
        report("nonsense"),
        [b"9-9", [b"type", b"message", b"from", BOB.encode(), b"room", ROOM.encode()]],
    ],
)
async def test_other_requests_that_wait_withhold_nothing(waiting: list[object]) -> None:
    """Only failures of stored messages, and only from the member that they concern."""
    async with keeping_history() as sending:
        sending.redis.requests = [waiting]
        await say(sending, "m1")
        assert got(sending) == [b"m1"]


async def test_the_reports_of_a_shard_are_read_once_until_it_is_lost() -> None:
    """While the edge owns it, its own memory is enough."""
    async with keeping_history() as sending:
        await say(sending, "m1")
        await sending.reply(sending.wires.sent[-1])
        sending.redis.requests = [report("0-5")]
        await say(sending, "m2")
        await sending.reply(sending.wires.sent[-1])
        assert got(sending) == [b"m1", b"m2"]
        everything = sending.owner.shards
        sending.owner.shards = everything - {3}
        sending.turn()
        sending.owner.shards = everything
        sending.turn()
        await say(sending, "m3")
        assert got(sending) == [b"m1", b"m2"]


async def test_a_probe_does_not_overtake_a_failure_of_which_the_worker_did_not_know() -> None:
    """Its report still waits. Accepted, the probe would count as all that was missed before it."""
    async with keeping_history() as sending:
        sending.redis.requests = [report("0-5")]
        await stored(sending, "0-8", "probe", wait=2000)
        assert got(sending) == []
        assert outcomes(sending) == [("away", "1")]
        await stored(sending, "0-5", "probe", wait=4000)
        assert got(sending) == [b"0-5"]


async def test_the_probe_with_the_next_message_is_sent_when_the_first_is_refused() -> None:
    """The worker knows of the failure, since it was a probe that failed."""
    async with keeping_history() as sending:
        await stored(sending, "0-5", "probe", wait=2000)
        await sending.reply(sending.wires.sent[-1], 500)
        sending.clock.now += 4
        await stored(sending, "0-8", "probe", wait=4000)
        assert got(sending) == [b"0-5", b"0-8"]


async def test_what_an_edge_knew_before_it_lost_the_shard_is_out_of_date() -> None:
    """Another edge has brought the missed message meanwhile; nothing is withheld because of it."""
    async with keeping_history() as sending:
        room = next(f"r{n}@example.org" for n in range(99) if keys.shard_of(f"r{n}@example.org", 4) == 3)
        await say(sending, "m1", room=room)
        await sending.reply(sending.wires.sent[-1], 480)
        sending.deliver.presence(f"online {BOB}".encode())
        everything = sending.owner.shards
        sending.owner.shards = everything - {3}
        sending.turn()
        sending.owner.shards = everything
        sending.turn()
        await say(sending, "m2", room=room)
        assert got(sending) == [b"m1", b"m2"]


async def test_nothing_is_sent_before_the_reports_could_be_read() -> None:
    """Redis is unreachable: the shard is read again later."""
    async with keeping_history() as sending:
        sending.redis.unreachable = True
        await say(sending, "m1")
        assert got(sending) == []
        assert sending.stream.resynced == [3]
        sending.redis.unreachable = False
        await sending.feed("1-0", entry(to=(BOB,)), again=True)
        assert len(got(sending)) == 1


async def test_all_pages_of_reports_are_read() -> None:
    """Many wait when the worker has died as well."""
    async with keeping_history() as sending:
        pages = [[report("8-0", user="x@127.0.0.1")] * 500, [report("0-5")]]
        starts: list[object] = []

        async def run(commands: list[tuple[object, ...]], run: object = sending.redis.run) -> list[object]:
            if commands[0][0] == "XRANGE" and commands[0][1] == keys.requests(3):
                starts.append(commands[0][2])
                return [pages.pop(0)]
            return await run(commands)  # type: ignore[operator,no-any-return]

        sending.deliver._former_failures._store.run = run  # type: ignore[method-assign,assignment]
        await say(sending, "m1")
        assert starts == ["-", "(9-9"]
        assert got(sending) == []


async def test_without_history_nothing_is_read() -> None:
    """The plain message costs as much as before."""
    async with Sending() as sending:
        sending.redis.requests = [report("0-5")]
        await say(sending, "m1")
        assert got(sending) == [b"m1"]
