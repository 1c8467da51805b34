"""The torture messages against the receiving side of an edge: what it answers with default settings."""

from __future__ import annotations

import pytest

from imc_common.sip import SipParseError
from imc_common.sip.framing import Framer
from tests.conformance.as_message import as_message
from tests.conformance.cases import CASES, Case
from tests.imc_edge.doubles import Edge, FakeFlow, edge

REQUESTS = [case for case in CASES if case.message is not None]


async def answers(at: Edge, data: bytes) -> list[int]:
    """The statuses of the answers to a datagram, handed up as the socket does."""
    flow = FakeFlow()
    if data.startswith(b"SIP/2.0 "):
        at.acceptor.response(data)
    else:
        at.acceptor.receive(data, flow)
    await at.settle()
    return [answer.status for answer in flow.answers]


def assert_one_of(statuses: list[int], expected: tuple[int, ...], case: Case) -> None:
    """Exactly one of the expected statuses came, or silence where none is expected."""
    if not expected:
        assert statuses == [], case.why
    else:
        assert len(statuses) == 1, case.why
        assert statuses[0] in expected, case.why


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_as_it_is(case: Case) -> None:
    """The message as the RFC has it."""
    async with edge() as at:
        assert_one_of(await answers(at, case.data), case.answers, case)


@pytest.mark.parametrize("case", REQUESTS, ids=str)
async def test_as_a_message(case: Case) -> None:
    """The same turned into a MESSAGE; a retransmission of it gets the same answer."""
    assert case.message is not None
    data = as_message(case.data, "fresh")
    async with edge() as at:
        first = await answers(at, data)
        assert_one_of(first, case.message, case)
        assert await answers(at, data) == first


OTHERWISE_ON_A_STREAM = {
    "inv2543": (400,),  # section 20.14: Content-Length is mandatory there
    "clerr": (413,),  # its rest would be waited for, had it not been announced as longer than we take
    "dblreq": (202, 405),  # section 18.3: what follows the body is the next message, an INVITE
}


@pytest.mark.parametrize("case", REQUESTS, ids=str)
async def test_as_a_message_over_tcp(case: Case) -> None:
    """On a stream the same answers come, but for what concerns its framing."""
    assert case.message is not None
    framer, flow = Framer(), FakeFlow("tcp")
    framer.receive(as_message(case.data, "fresh"))
    async with edge() as at:
        try:
            while (item := framer.next()) is not None:
                assert not isinstance(item, str)
                at.acceptor.take(item, flow)
        except SipParseError as error:
            at.acceptor.refuse(error, flow)
        await at.settle()
    statuses = sorted(answer.status for answer in flow.answers)
    if case.name == "dblreq":
        assert tuple(statuses) == OTHERWISE_ON_A_STREAM[case.name]
    else:
        assert_one_of(statuses, OTHERWISE_ON_A_STREAM.get(case.name, case.message), case)
