"""A new owner of a shard sends nothing that would overtake what failed at the former one."""

from __future__ import annotations

import asyncio

import pytest

from imc_common import keys
from imc_common.store import ReplyError
from imc_edge.delivering.former_failures import FormerFailures
from tests.imc_edge.delivering.test_away_rules import got, keeping_history, outcomes, say, stored
from tests.imc_edge.delivering.test_deliver import BOB
from tests.imc_edge.sending import ROOM, Batch, Redis, Sending, entry


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
        assert got(sending) == [], "m1 is still to be handed out"
        await stored(sending, "0-5", "part", since="0-5")
        await sending.reply(sending.wires.sent[-1])
        await say(sending, "m3")
        assert got(sending) == [b"0-5", b"m3"]


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


async def test_a_probe_does_not_overtake_a_failure_that_the_worker_has_handled_since() -> None:
    """When the worker sent it, the reports of an earlier owner still waited. They are handled by now."""
    async with keeping_history() as sending:
        sending.redis.newest_event = b"2-0"
        sending.redis.away = {BOB: b"0-5"}
        await stored(sending, "0-8", "probe", wait=2000, since="0-8")
        assert got(sending) == []
        assert outcomes(sending) == [("away", "1")]
        await stored(sending, "0-5", "probe", wait=4000, since="0-5")
        assert got(sending) == [b"0-5"]


async def test_a_failure_that_is_reported_during_the_takeover_is_known() -> None:
    """The former owner was suspended, and records outcomes when it resumes: m1 is settled, and failed."""
    async with keeping_history() as sending:
        run = sending.redis.run

        async def settled_late(commands: list[tuple[object, ...]]) -> list[object]:
            if commands[0][0] == "SMEMBERS":
                sending.redis.requests, sending.redis.gone = [report("1-0")], {"1-0"}
            return await run(commands)  # type: ignore[arg-type]

        sending.redis.run = settled_late  # type: ignore[method-assign,assignment]
        entries = [(entry_id, entry(to=(BOB,))) for entry_id in (b"1-0", b"2-0")]
        sending.stream.batches.put_nowait(Batch(3, entries, again=True))
        await sending.settle_down()
        assert got(sending) == []


async def test_a_failure_that_is_reported_between_two_reads_is_known() -> None:
    """The event that failed came with neither: what it says is read once more before anything new."""
    async with keeping_history() as sending:
        await sending.feed("1-0", entry(to=("carol@127.0.0.1:5072",)), again=True)
        sending.redis.requests = [report("2-0")]
        await sending.feed("3-0", entry(to=(BOB,)))
        assert got(sending) == []
        assert outcomes(sending) == [("away", "1")]


async def test_who_is_away_according_to_redis_gets_nothing_later_either() -> None:
    """A message that was put into the stream just before the member was marked is read as a new one."""
    async with keeping_history() as sending:
        sending.redis.away = {BOB: b"0-5"}
        await sending.feed("1-0", entry(to=(BOB,)), again=True)
        await sending.feed("2-0", entry(to=(BOB,)))
        assert got(sending) == []
        await sending.feed("3-0", entry(to=(BOB,), history_id="0-5", catch_up="part", since="0-5"))
        assert len(got(sending)) == 1


async def test_what_is_newer_than_the_takeover_is_sent_without_a_look() -> None:
    """Only what was in the stream by then may be for members who are marked since."""
    async with keeping_history() as sending:
        sending.redis.newest_event = b"1-0"
        await say(sending, "m1")
        await sending.reply(sending.wires.sent[-1])
        sending.redis.newest_event, sending.redis.away = b"2-0", {BOB: b"0-5"}
        await say(sending, "m2")
        assert got(sending) == [b"m1", b"m2"]


async def test_only_new_reports_are_read_with_each_page_of_a_takeover() -> None:
    """Many requests may wait for the worker, and many events may come again."""
    async with keeping_history() as sending:
        sending.redis.requests = [report("0-5", user="x@127.0.0.1")]
        starts: list[object] = []
        reply = sending.redis._reply

        def note(command: tuple[object, ...]) -> object:
            if command[:2] == ("XRANGE", keys.requests(3)):
                starts.append(command[2])
            return reply(command)  # type: ignore[arg-type]

        sending.redis._reply = note  # type: ignore[method-assign,assignment]
        await sending.feed("1-0", entry(to=(BOB,)), again=True)
        await sending.feed("2-0", entry(to=(BOB,)), again=True)
        assert starts == ["-", "(9-9"]


async def test_what_is_read_while_the_shard_is_lost_does_not_count() -> None:
    """It is ours again later: by then another edge may have had failures."""
    former = FormerFailures(Redis())  # type: ignore[arg-type]
    former.keep(frozenset({3}))
    reading = asyncio.create_task(former.read(3))
    await asyncio.sleep(0)
    former.keep(frozenset())
    former.keep(frozenset({3}))
    await reading
    former.noted(3)
    assert former.is_new(3)
    assert not former.are_known(3)


@pytest.mark.parametrize("word", ["SMEMBERS", "XRANGE", "XREVRANGE", "HMGET"])
async def test_nothing_is_sent_while_redis_refuses_to_tell(word: str) -> None:
    """A server that is busy or loads its data has said nothing about failures."""
    async with keeping_history() as sending:
        reply = sending.redis._reply
        refused: list[object] = [ReplyError("LOADING Redis is loading the dataset in memory")]

        def refuse(command: tuple[object, ...]) -> object:
            return refused[0] if refused and command[0] == word else reply(command)  # type: ignore[arg-type]

        sending.redis._reply = refuse  # type: ignore[method-assign,assignment]
        await sending.feed("1-0", entry(to=(BOB,)), again=True)
        assert got(sending) == []
        assert sending.stream.resynced == [3]
        refused.clear()
        await sending.feed("1-0", entry(to=(BOB,)), again=True)
        assert len(got(sending)) == 1


async def test_the_probe_with_the_next_message_is_sent_when_the_first_is_refused() -> None:
    """The worker knows of the failure: the probe says from where on messages are missed."""
    async with keeping_history() as sending:
        await stored(sending, "0-5", "probe", wait=2000)
        await sending.reply(sending.wires.sent[-1], 500)
        sending.clock.now += 4
        await stored(sending, "0-8", "probe", wait=4000, since="0-5")
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
