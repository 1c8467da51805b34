"""Events become MESSAGE requests, answers settle them."""

from __future__ import annotations

from tests.imc_edge.sending import Sending

BOB = "bob@127.0.0.1:5071"
CAROL = "carol@127.0.0.1:5072"


async def test_an_event_goes_to_every_recipient_and_is_settled_when_all_have_answered() -> None:
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
