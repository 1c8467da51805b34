"""The short way for a ready recipient: when it is taken, and that it does what the long way does."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from imc_common.rooms.request import RequestData
from imc_edge.delivering.recipient import Recipient
from imc_edge.flow import Hop
from imc_edge.routing.resolver import Destination, Resolver
from imc_edge.routing.targets import SrvTarget, Targets
from tests.imc_edge.sending import Clock, Sending, Sent, entry, on_loopback

BOB = "bob@127.0.0.1:5071"
CAROL = "carol@127.0.0.1:5072"


class OneServer(Resolver):
    """Every name has one server, for a minute."""

    async def resolve(self, _: Destination) -> Targets:
        return Targets.of([[SrvTarget(0, (Hop("udp", "127.0.0.9", 5060),))]], 1060.0)


def recipient(sending: Sending, address: str = BOB) -> Recipient:
    """A recipient that is known."""
    found = sending.recipients.get(address)
    assert found is not None
    return found


async def sent_to_both(*, ready: bool, size: int) -> Sequence[Sent]:
    """The requests of one event, on the short way or on the long one."""
    async with Sending(on_loopback(outbound_proxy="sip:127.0.0.1:5099")) as sending:
        for address in (BOB, CAROL):
            made = sending.recipients.add(address)
            assert made.ready_hop is not None
            if not ready:
                made.ready_hop = None
        await sending.feed("7-0", entry(to=(BOB, CAROL), data=RequestData("text/x", b"x" * size)))
        for sent in sending.wires.sent:
            sending.deliver.response(sent.response())
        await sending.settle_down()
        return sending.wires.sent


@pytest.mark.parametrize("size", [5, 800, 1300])
async def test_the_short_way_sends_the_same_requests_as_the_long_one(size: int) -> None:
    """Byte for byte, to the same hop; over TCP if they are too long for a datagram."""
    short, long = await sent_to_both(ready=True, size=size), await sent_to_both(ready=False, size=size)
    assert [(each.hop, each.data) for each in short] == [(each.hop, each.data) for each in long]
    assert {each.hop.transport for each in short} == {"tcp" if size == 1300 else "udp"}


async def test_a_recipient_is_ready_while_it_is_idle() -> None:
    """Not while a message is in flight or waits."""
    async with Sending() as sending:
        await sending.event(to=(BOB,))
        bob = recipient(sending)
        assert bob.ready_hop is None
        await sending.event(to=(BOB,))
        await sending.reply(sending.wires.sent[0])
        assert bob.ready_hop is None
        await sending.reply(sending.wires.sent[1], 404)
        assert bob.ready_hop == Hop("udp", "127.0.0.1", 5071)


async def test_an_unresponsive_recipient_is_not_ready() -> None:
    """A response makes it so again; a timeout does not."""
    async with Sending(on_loopback(unreachable_ttl=5)) as sending:
        await sending.event(to=(BOB, CAROL))
        await sending.pass_time(0.7)
        await sending.reply(sending.wires.sent[0])
        await sending.pass_time(32)
        assert recipient(sending, BOB).ready_hop is not None
        carol = recipient(sending, CAROL)
        assert carol.outgoing is None
        assert carol.ready_hop is None
        await sending.pass_time(6)
        await sending.event(to=(CAROL,))
        assert carol.ready_hop is None
        await sending.reply(sending.wires.sent[-1])
        assert carol.ready_hop is not None


async def test_a_recipient_that_sends_something_while_backed_off_is_ready_after_its_next_response() -> None:
    """Not before: a message of its own does not show that it responds."""
    async with Sending() as sending:
        await sending.event(to=(BOB,))
        await sending.pass_time(32.5)
        await sending.event(to=(CAROL,), **{"from": BOB})
        bob = recipient(sending)
        assert not bob.backed_off_until
        assert bob.ready_hop is None
        await sending.event(to=(BOB,))
        await sending.reply(sending.wires.sent[-1])
        assert bob.ready_hop is not None


async def test_a_recipient_behind_a_name_is_never_ready() -> None:
    """Its target is valid for a while only, so every delivery has to look."""
    async with Sending(resolver=OneServer(Clock())) as sending:
        for number in range(2):
            await sending.event(to=("bob@example.org",))
            await sending.reply(sending.wires.sent[number])
            assert recipient(sending, "bob@example.org").ready_hop is None


async def test_while_any_hop_is_backed_off_nobody_takes_the_short_way() -> None:
    """RFC 3263 §4.3: the hop of each recipient has to be looked up."""
    async with Sending() as sending:
        for port in (5081, 5082):
            sending.recipients.add(f"user@127.0.0.1:{port}")
        sending.wires.broken["udp", "127.0.0.1", 5071] = ConnectionRefusedError()
        await sending.event(to=(BOB,))
        await sending.event(to=("user@127.0.0.1:5081",))
        assert sending.wires.sent[-1].hop.port == 5081
        await sending.event(to=("bob2@127.0.0.1:5071",))
        assert len(sending.wires.sent) == 2
