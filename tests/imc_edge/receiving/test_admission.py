"""Which messages are accepted, and when they get their response (`admission`, `pending`, `responses`)."""

from __future__ import annotations

import pytest

from imc_common.rooms.request import RETRANSMISSION_SECONDS
from imc_common.sip import Response
from imc_common.store import NotDurable, ReplyError, StoreUnreachable
from imc_edge.identifiers import DeliveryIds
from tests.imc_common.bodies.corpus import IMDN_DOCUMENT
from tests.imc_edge.doubles import FakeFlow, accepts_of, edge, message


def header(response: Response, name: str) -> str | None:
    return response.headers.get(name)


async def test_202_is_sent_only_after_redis_has_the_message() -> None:
    """Until then there is no response: RFC 4320 forbids 100 and 408 for a MESSAGE."""
    async with edge() as at:
        at.store.gate.clear()
        flow = FakeFlow()
        at.acceptor.receive(message(), flow)
        await at.settle()
        assert at.store.batches
        assert flow.sent == []
        at.store.gate.set()
        await at.settle()
        assert [response.status for response in flow.responses] == [202]


@pytest.mark.parametrize("branch", ["z9hG4bK776", "z9hG4bKanother"])
async def test_a_retransmission_gets_the_same_response_and_is_not_accepted_again(branch: str) -> None:
    """RFC 3261 §8.2.7; also a balancer's retry, which has a branch of its own."""
    again = message(Via=f"SIP/2.0/UDP 192.0.2.1:5062;branch={branch};rport")
    async with edge() as one:
        first = await one.ask_one(message())
        second = await one.ask_one(again)
        assert first.status == second.status == 202
        assert header(first, "To") == header(second, "To")
        (digest,) = {digest for command in one.store.accepts for _, digest, _ in accepts_of(command)}
        assert digest
        assert {command[7] for command in one.store.accepts} == {RETRANSMISSION_SECONDS * 1000}


@pytest.mark.parametrize(
    "change", [{"Call_ID": "other"}, {"CSeq": "2 MESSAGE"}, {"From": "<sip:a@b.c>;tag=2"}]
)
async def test_another_call_id_cseq_or_from_tag_is_another_request(change: dict[str, str]) -> None:
    """It gets its own place in the stream."""
    async with edge() as at:
        await at.ask_one(message())
        await at.ask_one(message(**change))
        digests = {digest for command in at.store.accepts for _, digest, _ in accepts_of(command)}
        assert len(digests) == 2


@pytest.mark.parametrize(
    "reply",
    [
        b"overloaded",
        ReplyError("OOM command not allowed when used memory > 'maxmemory'."),
        ReplyError("READONLY You can't write against a read only replica."),
    ],
)
async def test_a_request_that_redis_refuses_gets_503_with_retry_after(reply: object) -> None:
    """A stream or memory is full, or the server is a replica: the client tries again (RFC 3261 §21.5.4)."""
    async with edge() as at:
        at.store.reply = lambda command: reply
        response = await at.ask_one(message())
        assert response.status == 503
        assert 1 <= int(header(response, "Retry-After") or 0) <= 10


@pytest.mark.parametrize("error", [StoreUnreachable("gone"), NotDurable("no replica")])
async def test_requests_get_503_while_redis_is_unreachable(error: Exception) -> None:
    """Also if the write is not safe yet; the client's retry is accepted or recognised."""

    def fail(command: object) -> object:
        raise error

    async with edge() as at:
        at.store.reply = fail
        assert (await at.ask_one(message())).status == 503
        at.store.reply = at.store.remember
        assert (await at.ask_one(message())).status == 202


async def test_requests_get_503_at_once_if_too_many_wait_for_redis() -> None:
    """The queue for Redis is bounded."""
    async with edge() as at:
        at.acceptor.commit._max_waiting = 2
        at.store.gate.clear()
        flows = [FakeFlow() for _ in range(4)]
        for number, flow in enumerate(flows):
            at.acceptor.receive(message(Call_ID=f"call-{number}"), flow)
        assert [[response.status for response in flow.responses] for flow in flows] == [[], [], [503], [503]]
        at.store.gate.set()
        await at.settle()
        assert [flow.responses[0].status for flow in flows] == [202, 202, 503, 503]


async def test_requests_that_arrive_while_a_pipeline_is_in_flight_share_the_next() -> None:
    """So load makes the batches."""
    async with edge() as at:
        at.store.gate.clear()
        flow = FakeFlow()
        at.acceptor.receive(message(Call_ID="first"), flow)
        await at.settle()
        for number in range(20):
            at.acceptor.receive(message(Call_ID=f"call-{number}"), flow)
        at.store.gate.set()
        await at.settle()
        first, second = at.store.batches
        assert len(first) == 1
        assert len(second) == 2  # one script for all of a shard, and one for what the sender has spent
        assert len(at.store.entries) == 21
        assert [response.status for response in flow.responses] == [202] * 21


async def test_a_draining_edge_refuses_new_requests_but_knows_duplicates() -> None:
    """503 sends clients to another edge; what was accepted keeps its 202 (RFC 3261 §8.2.7)."""
    async with edge() as at:
        assert (await at.ask_one(message())).status == 202
        at.health.drain()
        assert (await at.ask_one(message())).status == 202
        response = await at.ask_one(message(Call_ID="another"))
        assert response.status == 503
        assert header(response, "Retry-After")


@pytest.mark.parametrize(
    ("value", "accepted"), [("auto-replied", False), ("AUTO-generated; x=y", False), ("no", True)]
)
async def test_an_automatic_message_gets_202_and_is_not_delivered(value: str, accepted: bool) -> None:
    """RFC 3834 §2: it causes neither deliveries nor a notice, so no loop."""
    async with edge() as at:
        assert (await at.ask_one(message(Auto_Submitted=value))).status == 202
        assert bool(at.store.entries) is accepted


@pytest.mark.parametrize(
    ("recipient", "accepted"), [("chat-000@example.org", False), ("b@example.org", True)]
)
async def test_a_delivery_that_returns_to_a_room_gets_202_and_is_not_delivered(
    recipient: str, accepted: bool
) -> None:
    """Else rooms that are members of each other would never stop. The From tag names the recipient."""
    async with edge() as at:
        delivery_ids = DeliveryIds(at.store.secret)
        tag = (delivery_ids.recipient_id(recipient) + delivery_ids.message_id(recipient, "1-1", 0)).decode()
        response = await at.ask_one(message(From=f"<sip:room-a@example.org>;tag={tag}"))
        assert response.status == 202
        assert bool(at.store.entries) is accepted


async def test_receipts_can_be_switched_off() -> None:
    """receipts = none: 202, and nothing else."""
    receipt = message(IMDN_DOCUMENT, Content_Type="message/imdn+xml")
    async with edge(receipts="none") as at:
        assert (await at.ask_one(receipt)).status == 202
        assert at.store.entries == []


async def test_receipts_do_not_count_as_messages_and_too_many_get_no_response_but_202() -> None:
    """A member of a busy room sends two for each message of the others."""
    async with edge(max_messages_per_second=0.01, max_message_burst=1) as at:
        charge, accept = at.store.script("charge_budget", (), ())[1], at.store.reply
        at.store.reply = lambda command: 60_000 if command[1] == charge else accept(command)
        for number in range(30):
            receipt = message(IMDN_DOCUMENT, Content_Type="message/imdn+xml", Call_ID=f"r{number}")
            assert (await at.ask_one(receipt)).status == 202
        assert {entry.type for entry in at.store.entries} == {"disposition"}
        assert 2 <= len(at.store.entries) < 30
        assert (await at.ask_one(message(b"hello"))).status == 202
