"""Messages with the documented traits of other SIP stacks against the receiving side of an edge."""

from __future__ import annotations

import re

import pytest

from imc_common.sip import SipParseError
from imc_common.sip.framing import Framer
from tests.conformance.traits import CASES
from tests.conformance.traits.trait import Trait
from tests.imc_edge.doubles import Edge, FakeFlow, data_of, edge


def cases(selected: list[Trait]) -> list[object]:
    """The cases as parameters; those that fail today are strict xfails."""
    return [
        pytest.param(
            case,
            id=str(case),
            marks=[pytest.mark.xfail(strict=True, reason=case.fails_today)] * bool(case.fails_today),
        )
        for case in selected
    ]


def check(at: Edge, flow: FakeFlow, case: Trait) -> None:
    """One response with the expected status; after a 202, the expected request for the workers."""
    (response,) = flow.responses
    assert response.status == case.status, (response.status, response.reason)
    if case.status != 202 or not case.type:
        assert at.store.entries == []
        return
    (entry,) = at.store.entries
    assert (entry.sender, entry.room, entry.type, entry.user) == (
        case.sender, case.room, case.type, case.user,
    )  # fmt: skip
    data = data_of(entry)
    assert case.name in {None, data.display_name}
    assert case.content_type in {None, data.content_type}
    assert case.body in {None, data.body}
    assert case.hops in {None, data.max_forwards}


@pytest.mark.parametrize("case", cases(CASES))
async def test_a_message_is_read_as_expected_when(case: Trait) -> None:
    """In a datagram."""
    async with edge() as at:
        flow = FakeFlow()
        at.acceptor.receive(case.data, flow)
        await at.settle()
        check(at, flow, case)


@pytest.mark.parametrize("case", cases([case for case in CASES if case.on_streams]))
async def test_a_message_on_a_stream_is_read_as_expected_when(case: Trait) -> None:
    """In two pieces on a connection."""
    framer, flow = Framer(), FakeFlow("tcp")
    middle = len(case.data) // 2
    async with edge() as at:
        for piece in (case.data[:middle], case.data[middle:]):
            framer.receive(piece)
            try:
                while (item := framer.next()) is not None:
                    if not isinstance(item, str):  # a keep-alive
                        at.acceptor.take(item, flow)
            except SipParseError as error:
                at.acceptor.refuse(error, flow)
                if error.fatal:
                    break
        await at.settle()
        check(at, flow, case)


PLACES = re.compile(
    r"\b(?:Via|From|To|Call-ID|CSeq|Max-Forwards|Content-Type|Content-Length|Subject|Request-URI)\b"
)
"""Where many traits are tried in turn: the same folding, say, of each header."""


def test_there_are_at_least_300_traits() -> None:
    """In distinct messages. One that is tried in several headers counts once."""
    assert len({case.data for case in CASES}) == len(CASES)
    assert len({case.about for case in CASES}) == len(CASES)
    traits = {PLACES.sub("a header", case.about) for case in CASES}
    assert len(traits) >= 400
