"""The corpus of real clients' MESSAGEs against the codec and the receiving side of an edge."""

from __future__ import annotations

import pytest

from imc_common.sip import Request, parse_message
from imc_common.sip.framing import Framer
from imc_common.sip.via import Via
from tests.conformance.client_corpus import CLIENTS, ROOM, ClientMessage
from tests.imc_edge.doubles import data_of, edge

WHOLE = [each for each in CLIENTS if each.name != "linphone-doubled-headers"]
"""The messages whose end is certain: the other one has two Content-Lengths."""
READ = [each for each in CLIENTS if each.status != 202 or each.outcome != "nothing"]
"""The messages of which is known what an edge has to hand to the workers."""


def cases(messages: list[ClientMessage], *faults: str) -> list[object]:
    """These messages as parameters; those with one of these faults today are strict xfails."""
    return [
        pytest.param(
            each,
            id=str(each),
            marks=[pytest.mark.xfail(strict=True, reason=each.why)] * (each.fault in faults),
        )
        for each in messages
    ]


@pytest.mark.parametrize("each", WHOLE, ids=str)
def test_a_clients_message_parses_and_survives_a_round_trip(each: ClientMessage) -> None:
    """Parsing alone rejects none of them."""
    request = parse_message(each.data)
    assert isinstance(request, Request)
    assert request.method == "MESSAGE"
    assert parse_message(request.to_bytes()) == request
    assert all(isinstance(via, Via) for via in request.vias)


@pytest.mark.parametrize("each", WHOLE, ids=str)
def test_a_clients_message_is_framed_on_a_stream(each: ClientMessage) -> None:
    """Content-Length counts the body exactly: the framer finds one message, and nothing is left over."""
    framer = Framer()
    framer.receive(each.data)
    assert framer.next() == parse_message(each.data)
    assert framer.next() is None


@pytest.mark.parametrize("each", cases(CLIENTS, "edge"))
async def test_an_edge_responds_to_a_clients_message_as_expected(each: ClientMessage) -> None:
    """With default settings, as the first message of a trusted peer."""
    async with edge() as at:
        response = await at.ask_one(each.data)
    assert response.status == each.status, (response.status, response.reason)


@pytest.mark.parametrize("each", cases(READ, "edge", "room"))
async def test_an_edge_reads_sender_room_and_body_of_a_clients_message(each: ClientMessage) -> None:
    """What it hands to the workers: a command or a message, from whom, and to which room."""
    async with edge() as at:
        response = await at.ask_one(each.data)
        entries = at.store.entries
    assert response.status == each.status, (response.status, response.reason)
    if each.status != 202:
        assert entries == []
        return
    (entry,) = entries
    assert (entry.sender, entry.room) == (each.sender, ROOM)
    kind = "typing" if b"<isComposing" in each.data else "message"
    assert entry.type == {"command join": "join"}.get(each.outcome, kind)
    assert each.outcome != "message" or each.text.encode() in data_of(entry).body


def test_the_corpus_has_at_least_15_clients() -> None:
    """Each file names another client or another situation of it."""
    assert len({each.client for each in CLIENTS}) > 30
    assert {each.status for each in CLIENTS} == {202, 400, 415, 416}
    assert len({each.data for each in CLIENTS}) == len(CLIENTS)
