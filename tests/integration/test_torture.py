"""The torture messages, and bent ones, against a real edge process over real sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.conformance.as_message import answered_at, as_message
from tests.conformance.cases import CASES, SILENCE, Case
from tests.fuzz_edge import lonely_service, weather
from tests.integration.service import Service
from tests.patience import PATIENCE

pytestmark = pytest.mark.integration

SILENT_FOR = 0.15
"""Seconds without an answer that count as silence; the edge answers within a few milliseconds."""


@pytest.fixture(scope="module")
def tortured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One edge and one worker that nobody else uses."""
    with lonely_service(tmp_path_factory.mktemp("torture")) as running:
        yield running


@pytest.fixture
def udp() -> Iterator[socket.socket]:
    """A socket of a peer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


def answer_to(data: bytes, udp: socket.socket, tortured: Service, wait: float) -> int | None:
    """The status of the edge's answer, None for silence."""
    udp.settimeout(wait)
    udp.sendto(answered_at(data, udp.getsockname()[1]), tortured.edge)
    try:
        return int(udp.recv(65_535).split(b" ", 2)[1])
    except TimeoutError:
        return None


@pytest.mark.parametrize("case", CASES, ids=str)
def test_as_it_is(case: Case, tortured: Service, udp: socket.socket) -> None:
    """The message as the RFC has it, but for a Via that leads back here."""
    if case.answers == SILENCE:
        assert answer_to(case.data, udp, tortured, SILENT_FOR) is None, case.why
    else:
        assert answer_to(case.data, udp, tortured, PATIENCE) in case.answers, case.why


@pytest.mark.parametrize("case", [case for case in CASES if case.message is not None], ids=str)
def test_as_a_message(case: Case, tortured: Service, udp: socket.socket) -> None:
    """The same as a MESSAGE."""
    assert case.message is not None
    assert answer_to(as_message(case.data, "live"), udp, tortured, PATIENCE) in case.message, case.why


def test_an_edge_survives_bent_messages(tortured: Service) -> None:
    """What ``make fuzz`` does for as long as wanted: it serves, logs no exception and does not grow."""
    assert weather(tortured, seconds=3, seed=5118).sent > 10
