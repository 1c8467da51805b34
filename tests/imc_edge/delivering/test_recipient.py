"""Responsive, unresponsive and backed-off recipients: what is queued, refused and sent at once.

Time is simulated.
"""

from __future__ import annotations

from imc_common.rooms.request import RequestData
from tests.imc_edge.sending import Batch, Sending, Sent, entry, on_loopback

BOB = "bob@127.0.0.1:5071"
CAROL = "carol@127.0.0.1:5072"
DAVE = "dave@127.0.0.1:5073"


def bodies(sent: list[Sent], recipient: str) -> list[bytes]:
    """What went to one recipient, in order."""
    return [each.request.body for each in sent if each.recipient == recipient]


def text(body: str) -> RequestData:
    """The data of a plain message."""
    return RequestData("text/html", body.encode(), max_forwards=69)


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
