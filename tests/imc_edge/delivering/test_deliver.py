"""Events become MESSAGE requests, responses settle them: order, limits, takeover, drain.

Also covers counts.py, delivery_context.py, event_renderer.py, in_flight.py, outcome.py, outgoing.py,
recipient.py, settlement.py and wiring.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from imc_common import keys
from imc_common.rooms.request import RequestData
from imc_common.store import ReplyError
from imc_edge.delivering.deliver import SEND_BATCH
from imc_edge.delivering.notice_limit import BURST
from tests.imc_edge.sending import ROOM, Batch, Sending, Sent, entry, on_loopback
from tests.patience import PATIENCE

BOB = "bob@127.0.0.1:5071"
CAROL = "carol@127.0.0.1:5072"
DAVE = "dave@127.0.0.1:5073"


def bodies(sent: list[Sent], recipient: str) -> list[bytes]:
    """What went to one recipient, in order."""
    return [each.request.body for each in sent if each.recipient == recipient]


def text(body: str) -> RequestData:
    """The data of a plain message."""
    return RequestData("text/html", body.encode(), 69)


async def test_an_event_goes_to_every_recipient_and_is_settled_after_all_responses() -> None:
    """One MESSAGE each; one `settle_delivered` once the last 2xx is in."""
    async with Sending() as sending:
        entry_id = await sending.event(to=(BOB, CAROL))
        assert [sent.recipient for sent in sending.wires.sent] == [BOB, CAROL]
        assert [(sent.hop.transport, sent.hop.port) for sent in sending.wires.sent] == [
            ("udp", 5071),
            ("udp", 5072),
        ]
        await sending.reply(sending.wires.sent[0])
        assert sending.redis.ran == []
        assert sending.deliver.in_flight(3) == 1
        await sending.reply(sending.wires.sent[1])
        assert sending.redis.ran == [("settle_delivered", ("imc:{3}:out",), (entry_id,))]
        assert sending.deliver.in_flight() == 0


async def test_many_events_are_settled_by_one_command() -> None:
    """Events that end together are settled together."""
    async with Sending() as sending:
        ids = [await sending.event(to=(f"user{n}@127.0.0.1",)) for n in range(5)]
        for sent in list(sending.wires.sent):
            sending.deliver.response(sent.response(200))
        await sending.settle_down()
        assert sending.redis.of("settle_delivered") == [tuple(ids)]


async def test_rfc_3428_8_one_message_in_flight_per_recipient_in_order() -> None:
    """The next goes out after the response to the one before, whatever room or shard it comes from."""
    async with Sending() as sending:
        await sending.event(to=(BOB, CAROL), data=text("1"))
        await sending.event(to=(BOB,), shard=7, data=text("2"))
        await sending.event(to=(BOB, CAROL), data=text("3"))
        assert bodies(sending.wires.sent, BOB) == [b"1"]
        assert bodies(sending.wires.sent, CAROL) == [b"1"]
        await sending.reply(sending.wires.sent[0])
        assert bodies(sending.wires.sent, BOB) == [b"1", b"2"]
        assert bodies(sending.wires.sent, CAROL) == [b"1"]
        await sending.reply(sending.wires.sent[2], 500)
        assert bodies(sending.wires.sent, BOB) == [b"1", b"2", b"3"]


async def test_notices_of_refusals_to_one_sender_are_rate_limited() -> None:
    """Those over the limit are left out; their events end all the same."""
    async with Sending() as sending:
        for _ in range(BURST + 5):
            await sending.event("refused", (BOB,), reason="not_member", command="message")
        while sending.deliver.in_flight():
            await sending.reply(sending.wires.sent[-1])
        assert len(sending.wires.sent) == BURST


async def test_the_notice_of_an_exceeded_limit_is_never_left_out() -> None:
    """It comes once a minute; without it the sender would not know the reason."""
    async with Sending() as sending:
        for _ in range(BURST + 5):
            await sending.event("refused", (BOB,), reason="not_member", command="message")
        await sending.event("refused", (BOB,), reason="too_many_commands", command="list", detail="7")
        while sending.deliver.in_flight():
            await sending.reply(sending.wires.sent[-1])
        assert len(sending.wires.sent) == BURST + 1
        assert b"sending commands too fast" in sending.wires.sent[-1].request.body


async def test_a_long_list_is_sent_page_after_page() -> None:
    """The second MESSAGE of an event waits for the response to the first; the event ends with the last."""
    members = " ".join(f"member:user{n:04}@a-long-enough-domain.example.org" for n in range(40))
    async with Sending() as sending:
        await sending.event("members", (BOB,), list=members)
        pages = 1
        while sending.deliver.in_flight():
            assert len(sending.wires.sent) == pages
            assert f"part {pages} of".encode() in sending.wires.sent[-1].request.body
            await sending.reply(sending.wires.sent[-1])
            pages += 1
        assert pages > 2
        assert len({sent.request.call_id for sent in sending.wires.sent}) == pages - 1
        assert len(sending.redis.of("settle_delivered")) == 1


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
    ("event", "status", "receipt"),
    [
        ("message", 404, "1"), ("message", 410, "1"), ("joined", 604, "1"), ("message", 480, "0"),
        ("message", 603, "0"), ("invited", 486, "1"), ("invited", 480, "1"), ("invited", 404, "1"),
    ],
)  # fmt: skip
async def test_failures_with_a_consequence_for_the_room_get_a_receipt(
    event: str, status: int, receipt: str
) -> None:
    """Invitations that fail in any way; recipients that do not exist."""
    async with Sending() as sending:
        await sending.event(event, (BOB,))
        await sending.reply(sending.wires.sent[0], status)
        (args,) = sending.redis.of("settle")
        assert args[5:] == (BOB, str(status), receipt)


async def test_a_recipient_silent_until_timer_f_is_backed_off_and_its_queue_fails() -> None:
    """What comes while it is backed off fails without being sent."""
    settings = on_loopback(unreachable_ttl=30)
    async with Sending(settings) as sending:
        for _ in range(3):
            await sending.event("invited", (BOB,))
        await sending.event(to=(CAROL,))
        await sending.reply(sending.wires.sent[1])
        assert len(sending.redis.of("settle_delivered")) == 1  # nobody waits for bob
        await sending.pass_time(32.5)
        assert len(bodies(sending.wires.sent, BOB)) == 11
        assert [args[5:] for args in sending.redis.of("settle")] == [(BOB, "408", "1")] * 3
        await sending.event(to=(BOB,))
        assert len(bodies(sending.wires.sent, BOB)) == 11
        assert sending.redis.of("settle")[-1][5:] == (BOB, "408", "0")
        await sending.pass_time(30)
        await sending.event(to=(BOB,))
        assert len(bodies(sending.wires.sent, BOB)) == 12


async def test_a_backed_off_recipient_that_sends_something_gets_messages_again() -> None:
    """Its own message shows that it is there."""
    async with Sending() as sending:
        await sending.event(to=(BOB,))
        await sending.pass_time(32.5)
        await sending.event(to=(CAROL,), **{"from": BOB})
        before = len(bodies(sending.wires.sent, BOB))
        await sending.event(to=(BOB,))
        assert len(bodies(sending.wires.sent, BOB)) == before + 1


async def test_the_queue_of_an_unresponsive_recipient_is_bounded() -> None:
    """Deliveries past the limit end as recorded failures; the others are delivered in order."""
    async with Sending(on_loopback(recipient_queue=3)) as sending:
        await sending.event(to=(BOB,), data=text("0"))
        await sending.pass_time(0.7)
        for number in range(1, 6):
            await sending.event(to=(BOB,), data=text(str(number)))
        assert [args[5:] for args in sending.redis.of("settle")] == [(BOB, "surplus", "0")] * 2
        for _ in range(4):
            await sending.reply(sending.wires.sent[-1])
        assert bodies(sending.wires.sent, BOB) == [b"0", b"0", b"1", b"2", b"3"]
        assert 'imc_deliveries_total{outcome="surplus"} 2.0' in sending.metrics.page().decode()


async def test_deliveries_to_a_responsive_recipient_are_never_refused() -> None:
    """Reading pauses instead: what was accepted is delivered, in order."""
    async with Sending(on_loopback(recipient_queue=1, max_in_flight=4)) as sending:
        for number in range(12):
            await sending.event(to=(BOB,), data=text(str(number)))
        assert not sending.stream.batches.empty()
        for number in range(12):
            await sending.reply(sending.wires.sent[number])
        assert bodies(sending.wires.sent, BOB) == [str(number).encode() for number in range(12)]
        assert sending.redis.of("settle") == []


async def test_a_recipient_with_a_long_queue_that_responds_late_delays_nobody_else() -> None:
    """With 100 deliveries waiting and 100 ms for a response, they count apart."""
    async with Sending(on_loopback(max_in_flight=110)) as sending:
        await sending.event(to=(BOB,))
        for number in range(100):
            sending.stream.batches.put_nowait(Batch(3, [(f"900-{number}".encode(), entry(to=(BOB,)))]))
        await sending.until(sending.stream.batches.empty)
        sending.clock.now += 0.11
        sending.turn()
        for number in range(20):
            await sending.event(to=(BOB, f"user{number}@127.0.0.1"))
        assert len(sending.wires.sent) == 21


async def test_too_much_in_flight_pauses_reading_but_unresponsive_recipients_do_not() -> None:
    """Deliveries to recipients that let T1 pass count apart: a room of them delays nobody else."""
    async with Sending(on_loopback(max_in_flight=4)) as sending:
        await sending.event(to=[f"dead{n}@127.0.0.1" for n in range(6)])
        await sending.event(to=(CAROL,), **{"from": DAVE})
        assert bodies(sending.wires.sent, CAROL) == []
        await sending.pass_time(0.7)
        assert len(bodies(sending.wires.sent, CAROL)) == 1


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


async def test_rfc_3428_7_an_expired_message_is_not_sent() -> None:
    """Neither at once nor from the queue."""
    async with Sending() as sending:
        now_ms = int(sending.clock.wall() * 1000)
        await sending.event(to=(BOB,), data=RequestData("text/plain", b"old", 69, "", now_ms - 1))
        assert sending.wires.sent == []
        assert sending.redis.of("settle")[0][5:] == (BOB, "expired", "0")
        await sending.event(to=(BOB,), data=text("first"))
        await sending.event(to=(BOB,), data=RequestData("text/plain", b"late", 69, "", now_ms + 10_000))
        sending.clock.now += 11
        await sending.reply(sending.wires.sent[0])
        assert bodies(sending.wires.sent, BOB) == [b"first"]
        assert sending.redis.of("settle")[1][5:] == (BOB, "expired", "0")


@pytest.mark.parametrize("hours", [-1, 1])
async def test_expires_does_not_depend_on_two_clocks_that_agree(hours: int) -> None:
    """The clock of the edge that accepted the message is an hour off ours."""
    async with Sending() as sending:
        at = int(sending.clock.wall() * 1000) + hours * 3_600_000
        for name in (b"in time", b"late"):
            await sending.event(to=(BOB,), at=at, data=RequestData("text/x", name, 69, "", at + 60_000))
        assert bodies(sending.wires.sent, BOB) == [b"in time"]
        sending.clock.now += 61
        await sending.reply(sending.wires.sent[0])
        assert bodies(sending.wires.sent, BOB) == [b"in time"]
        assert sending.redis.of("settle")[-1][5:] == (BOB, "expired", "0")


async def test_a_recipient_with_an_invalid_address_fails_alone() -> None:
    """The others get the message."""
    async with Sending() as sending:
        await sending.event(to=("no-address", BOB))
        await sending.reply(sending.wires.sent[0])
        assert set(sending.redis.of("settle")[0][5:]) >= {"no-address", "unsendable", BOB, "200"}


async def test_an_event_that_cannot_be_rendered_is_a_dead_letter_at_once() -> None:
    """The shard goes on, and is not read again for it."""
    async with Sending(on_loopback(max_attempts=3)) as sending:
        await sending.feed("7-0", entry("no such event", to=(BOB,)))
        await sending.event(to=("user@127.0.0.1",))
        assert sending.stream.resynced == []
        ((entry_id, reason, _),) = sending.redis.of("move_to_dead_letters")
        assert entry_id == "7-0"
        assert "no such event" in reason
        assert len(sending.wires.sent) == 1
        assert sending.deliver.in_flight() == 1


async def test_an_event_of_a_room_with_an_invalid_address_is_a_dead_letter() -> None:
    """Its MESSAGE would be malformed."""
    async with Sending(on_loopback(max_attempts=3)) as sending:
        await sending.feed("7-0", entry(to=(BOB,), room="chat\r\nX: 1@example.org"))
        assert len(sending.redis.of("move_to_dead_letters")) == 1
        assert sending.wires.sent == []


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


async def test_drain_reads_no_more_events_and_ends_after_the_last_response() -> None:
    """And not before."""
    async with Sending() as sending:
        await sending.event(to=(BOB,))
        draining = asyncio.create_task(sending.deliver.drain(sending.clock() + 32))
        await sending.settle_down()
        await sending.event(to=(CAROL,))
        assert bodies(sending.wires.sent, CAROL) == []
        assert not draining.done()
        await sending.reply(sending.wires.sent[0])
        await asyncio.wait_for(draining, PATIENCE)
        assert sending.deliver.in_flight() == 0


async def test_drain_ends_at_its_deadline_and_records_what_is_known() -> None:
    """The next owner sends to the others only."""
    async with Sending() as sending:
        await sending.event(to=(BOB, CAROL))
        draining = asyncio.create_task(sending.deliver.drain(sending.clock() + 1))
        await sending.reply(sending.wires.sent[0])
        sending.clock.now += 2
        await asyncio.wait_for(draining, PATIENCE)
        (args,) = sending.redis.of("settle")
        assert (args[1], args[5:]) == (0, (BOB, "200", "0"))


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


async def test_the_from_of_a_delivery_is_the_room() -> None:
    """RFC 3261 §8.1.1.3: the recipient replies to the room."""
    async with Sending() as sending:
        await sending.event(to=(BOB,))
        assert sending.wires.sent[0].request.from_.uri.address() == ROOM


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
