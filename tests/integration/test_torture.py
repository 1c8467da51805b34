"""The torture messages, and mutated ones, against a real edge process over UDP."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.conformance.as_message import as_message, with_sent_by
from tests.conformance.cases import CASES, SILENCE, Case
from tests.fuzz_edge import fuzz, isolated_service
from tests.integration.service import Service
from tests.patience import PATIENCE

pytestmark = pytest.mark.integration

SILENT_FOR = 0.15
"""Seconds without a response that count as silence; an edge responds within a few milliseconds."""


@pytest.fixture(scope="module")
def tortured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One edge and one worker that no other test uses."""
    with isolated_service(tmp_path_factory.mktemp("torture")) as running:
        yield running


@pytest.fixture
def udp() -> Iterator[socket.socket]:
    """A peer's socket."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


def response_to(data: bytes, udp: socket.socket, tortured: Service, wait: float) -> int | None:
    """The status of the edge's response; None for silence."""
    udp.settimeout(wait)
    udp.sendto(with_sent_by(data, udp.getsockname()[1]), tortured.edge)
    try:
        return int(udp.recv(65_535).split(b" ", 2)[1])
    except TimeoutError:
        return None


@pytest.mark.parametrize("case", CASES, ids=str)
def test_original_message_gets_the_expected_response(
    case: Case, tortured: Service, udp: socket.socket
) -> None:
    """The message as the RFC has it, except for a Via that leads back to this test."""
    if case.original == SILENCE:
        assert response_to(case.data, udp, tortured, SILENT_FOR) is None, case.why
    else:
        assert response_to(case.data, udp, tortured, PATIENCE) in case.original, case.why


@pytest.mark.parametrize("case", [case for case in CASES if case.message is not None], ids=str)
def test_as_a_message_it_gets_the_expected_response(
    case: Case, tortured: Service, udp: socket.socket
) -> None:
    """The original turned into a MESSAGE."""
    assert case.message is not None
    assert response_to(as_message(case.data, "live"), udp, tortured, PATIENCE) in case.message, case.why


def test_an_edge_survives_mutated_messages(tortured: Service) -> None:
    """A short run of what ``make fuzz`` does: the edge serves, logs no exception and does not grow."""
    assert fuzz(tortured, seconds=3, seed=5118).sent > 10
