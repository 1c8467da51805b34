"""The torture messages against the receiving side of an edge with default settings."""

from __future__ import annotations

import pytest

from imc_common.sip import SipParseError
from imc_common.sip.framing import Framer
from tests.conformance.as_message import as_message
from tests.conformance.cases import CASES, Case
from tests.imc_edge.doubles import Edge, FakeFlow, edge

REQUESTS = [case for case in CASES if case.message is not None]


async def responses(at: Edge, data: bytes) -> list[int]:
    """The statuses of the responses to one datagram."""
    flow = FakeFlow()
    if data.startswith(b"SIP/2.0 "):
        at.acceptor.response(data)
    else:
        at.acceptor.receive(data, flow)
    await at.settle()
    return [response.status for response in flow.responses]


def assert_one_of(statuses: list[int], expected: tuple[int, ...], case: Case) -> None:
    """There is one response with one of the expected statuses, or none where none is expected."""
    if not expected:
        assert statuses == [], case.why
    else:
        assert len(statuses) == 1, case.why
        assert statuses[0] in expected, case.why


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_original_message_gets_the_expected_response(case: Case) -> None:
    """The message as the RFC has it."""
    async with edge(conference_factory="") as at:
        assert_one_of(await responses(at, case.data), case.original, case)


@pytest.mark.parametrize("case", REQUESTS, ids=str)
async def test_as_a_message_it_gets_the_expected_response_also_when_retransmitted(case: Case) -> None:
    """The original turned into a MESSAGE."""
    assert case.message is not None
    data = as_message(case.data, "fresh")
    async with edge(conference_factory="") as at:
        first = await responses(at, data)
        assert_one_of(first, case.message, case)
        assert await responses(at, data) == first


DIFFERENT_ON_A_STREAM = {
    "inv2543": (400,),  # RFC 3261 §20.14: Content-Length is mandatory on a stream
    "clerr": (413,),  # announces a body beyond max_body; otherwise the edge would wait for the rest
    "dblreq": (202, 405),  # RFC 3261 §18.3: the octets after the body are the next message, an INVITE
}


@pytest.mark.parametrize("case", REQUESTS, ids=str)
async def test_as_a_message_over_tcp_it_gets_the_same_response_unless_framing_differs(case: Case) -> None:
    """DIFFERENT_ON_A_STREAM lists the cases where a stream has other rules than a datagram."""
    assert case.message is not None
    framer, flow = Framer(), FakeFlow("tcp")
    framer.receive(as_message(case.data, "fresh"))
    async with edge(conference_factory="") as at:
        try:
            while (item := framer.next()) is not None:
                assert not isinstance(item, str)
                at.acceptor.take(item, flow)
        except SipParseError as error:
            at.acceptor.refuse(error, flow)
        await at.settle()
    statuses = sorted(response.status for response in flow.responses)
    if case.name == "dblreq":
        assert tuple(statuses) == DIFFERENT_ON_A_STREAM[case.name]
    else:
        assert_one_of(statuses, DIFFERENT_ON_A_STREAM.get(case.name, case.message), case)
