"""Events that come again, and shards that are lost meanwhile: who sends, and to whom."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from imc_common import keys
from imc_common.rooms.request import RequestData
from imc_edge.delivering.deliver import SEND_BATCH
from tests.imc_edge.sending import Batch, Sending, Sent, entry, on_loopback

BOB = "bob@127.0.0.1:5071"
CAROL = "carol@127.0.0.1:5072"


def bodies(sent: list[Sent], recipient: str) -> list[bytes]:
    """What went to one recipient, in order."""
    return [each.request.body for each in sent if each.recipient == recipient]


def text(body: str) -> RequestData:
    """The data of a plain message."""
    return RequestData("text/html", body.encode(), max_forwards=69)


async def test_an_event_taken_over_goes_only_to_those_that_have_not_responded() -> None:
    """The settled set is read first; the new requests have the identifiers of the first ones."""
    async with Sending() as first:
        await first.feed("7-0", entry(to=(BOB, CAROL)))
    async with Sending() as second:
        second.redis.settled["imc:{3}:settled:7-0"] = {BOB.encode()}
        await second.feed("7-0", entry(to=(BOB, CAROL)), again=True)
        (sent,) = second.wires.sent
        assert sent.recipient == CAROL
        original = next(each.request for each in first.wires.sent if each.recipient == CAROL)
        for header in ("Call-ID", "CSeq", "From", "To"):
            assert sent.request.headers.get(header) == original.headers.get(header)
        await second.reply(sent)
        (args,) = second.redis.of("settle")
        assert (args[0], args[1], args[5:]) == ("7-0", 1, (CAROL, "200", "0"))


async def test_482_to_a_resent_request_counts_as_delivered() -> None:
    """RFC 3261 §8.2.2.2: the recipient has had it by another way."""
    async with Sending() as sending:
        await sending.feed("7-0", entry(to=(BOB,)), again=True)
        await sending.reply(sending.wires.sent[0], 482)
        assert sending.redis.of("settle")[0][5:] == (BOB, "200", "0")


async def test_482_to_a_first_request_is_a_failure() -> None:
    """It is a loop on the recipient's side."""
    async with Sending() as sending:
        await sending.event(to=(BOB,))
        await sending.reply(sending.wires.sent[0], 482)
        assert sending.redis.of("settle")[0][5:] == (BOB, "482", "0")


async def test_an_entry_in_flight_that_is_read_again_is_not_sent_again() -> None:
    """A resync hands out every pending entry, our own ones as well."""
    async with Sending() as sending:
        fields = entry(to=(BOB,))
        await sending.feed("7-0", fields)
        await sending.feed("7-0", fields, again=True)
        assert len(sending.wires.sent) == 1


async def test_new_events_do_not_overtake_one_that_cannot_be_taken_over_yet() -> None:
    """Redis becomes unreachable between the read and the takeover: the shard's order is kept."""
    async with Sending() as sending:
        sending.redis.unreachable = True
        sending.stream.batches.put_nowait(Batch(3, [(b"7-0", entry(to=(BOB,)))], again=True))
        await sending.feed("8-0", entry(to=(BOB,)))
        assert sending.wires.sent == []
        assert sending.stream.resynced == [3]


@pytest.mark.uncompiled
@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("regained_after", [1, 2])
async def test_what_was_read_before_a_shard_was_lost_is_not_sent_when_it_is_ours_again(
    again: bool, regained_after: int
) -> None:
    """A suspended edge: the events in between were skipped, and all are read again, in order."""
    async with Sending() as sending:
        looks: list[None] = []
        owner = sending.deliver._is_due

        def is_due(shard: int, entry_id: str) -> bool:
            looks.append(None)
            lost = 1 < len(looks) <= 1 + regained_after
            sending.owner.shards = frozenset() if lost else frozenset(range(16))
            return owner(shard, entry_id)

        sending.deliver._is_due = is_due  # type: ignore[method-assign]
        entries = [(f"{n}-0".encode(), entry(to=(f"u{n}@127.0.0.1:5071",))) for n in range(1, 8)]
        sending.stream.batches.put_nowait(Batch(3, entries, again=again))
        await sending.settle_down()
        places = [int(each.recipient[1]) for each in sending.wires.sent]
        assert places == list(range(1, len(places) + 1))
        sending.deliver._is_due = owner  # type: ignore[method-assign]
        sending.owner.shards = frozenset(range(16))
        sending.stream.batches.put_nowait(Batch(3, entries, again=True))
        await sending.settle_down()
        assert [int(each.recipient[1]) for each in sending.wires.sent] == list(range(1, 8))


async def test_a_lost_shard_is_left_to_its_next_owner() -> None:
    """No retransmission, and nothing more from the queues; deliveries of other shards go on."""
    async with Sending() as sending:
        await sending.event(to=(BOB,), shard=3, data=text("1"))
        await sending.event(to=(BOB,), shard=3, data=text("2"))
        await sending.event(to=(BOB,), shard=4, data=text("3"))
        sending.owner.shards = frozenset({4})
        await sending.reply(sending.wires.sent[0])
        assert bodies(sending.wires.sent, BOB) == [b"1", b"3"]
        sending.turn()
        assert sending.deliver.in_flight(3) == 0
        await sending.event(to=(CAROL,), shard=3)
        assert bodies(sending.wires.sent, CAROL) == []


async def test_requests_of_a_lost_shard_are_not_retransmitted() -> None:
    """The next owner sends the message with the same identifiers."""
    async with Sending() as sending:
        await sending.event(to=(BOB,), shard=3)
        sending.owner.shards = frozenset()
        await sending.pass_time(33)
        assert len(sending.wires.sent) == 1
        assert sending.redis.ran == []


async def test_an_event_read_twice_and_settled_meanwhile_is_not_sent_again() -> None:
    """Read again while in flight, because a connection broke; all respond before it is looked at."""
    async with Sending(settings=on_loopback(durability="replicas")) as sending:
        gate = asyncio.Event()
        gate.set()

        async def hold(shards: Iterable[int]) -> frozenset[int]:
            await gate.wait()
            return frozenset(shards)

        sending.owner.hold_durably = hold  # type: ignore[attr-defined]
        fields = entry("message", ["bob@127.0.0.1:5070", "carol@127.0.0.1:5071"])
        await sending.feed("1-0", fields)
        gate.clear()
        await sending.feed("1-0", fields, again=True)
        for sent in list(sending.wires.sent):
            await sending.reply(sent)
        assert sending.deliver.in_flight() == 0
        assert sending.deliver.holds(3, b"1-0")  # read, and waiting
        sending.redis.gone = {"1-0"}
        gate.set()
        await sending.until(lambda: not sending.deliver.holds(3, b"1-0"))
        await sending.settle_down()
        assert len(sending.wires.sent) == 2


async def test_an_edge_that_loses_the_shard_in_the_middle_of_an_event_sends_no_more_of_it() -> None:
    """Reading is paused in the middle of a large event: the next owner sends the rest."""
    async with Sending(settings=on_loopback(max_in_flight=SEND_BATCH)) as sending:
        await sending.event(to=[f"user-{number}@127.0.0.1:5070" for number in range(3 * SEND_BATCH)])
        assert len(sending.wires.sent) == SEND_BATCH
        sending.owner.shards = frozenset()
        for sent in list(sending.wires.sent):
            sending.deliver.response(sent.response())
        await sending.until(lambda: not sending.deliver.holds(3, b"1-0"))
        assert len(sending.wires.sent) == SEND_BATCH
        assert sending.deliver.in_flight() == 0


async def test_attempt_counts_left_by_an_outage_are_removed_without_further_events() -> None:
    """The shard may have another owner by then."""
    async with Sending() as sending:
        sending.redis.unreachable = True
        await sending.feed("7-0", entry(to=(BOB,)), again=True)
        takeover, counter = sending.deliver._takeover, keys.attempts(3, "out", "7-0")
        await sending.until(lambda: takeover.untidy)
        sending.redis.tried[counter] = 1  # the reply was lost
        await sending.until(lambda: takeover.untidy)
        sending.redis.unreachable = False
        await sending.until(lambda: not takeover.untidy)
        assert counter not in sending.redis.tried
