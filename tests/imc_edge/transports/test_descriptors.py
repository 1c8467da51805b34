"""The budget of file descriptors."""

from __future__ import annotations

import resource

import pytest

from imc_edge.transports.descriptors import RESERVED, TooFewDescriptorsError, descriptor_budget


class Limits:
    """The limits of open files of a process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = (1024, 1024)
        monkeypatch.setattr(resource, "getrlimit", lambda _: self.now)
        monkeypatch.setattr(resource, "setrlimit", self._set)

    def _set(self, _kind: int, limits: tuple[int, int]) -> None:
        assert limits[0] <= limits[1] or limits[1] == resource.RLIM_INFINITY
        self.now = limits


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> Limits:
    """Other than those of the tests' own process."""
    return Limits(monkeypatch)


@pytest.mark.parametrize(
    ("given", "connections", "soft"),
    [
        ((1024, 1024), 1024 - RESERVED, 1024),
        ((1024, 2048), 2048 - RESERVED, 2048),
        ((1024, 524_288), 4096, 4096 + RESERVED),
        ((1024, resource.RLIM_INFINITY), 4096, 4096 + RESERVED),
        ((65_536, 65_536), 4096, 65_536),
    ],
)
def test_the_soft_limit_is_raised_and_connections_fit_into_it(
    limits: Limits, given: tuple[int, int], connections: int, soft: int
) -> None:
    """As far as the hard limit allows; other descriptors have a reserve."""
    limits.now = given
    assert descriptor_budget(4096) == (connections, soft)
    assert limits.now == (soft, given[1])


def test_a_limit_without_room_for_connections_is_an_error(limits: Limits) -> None:
    """It says how much is needed, and where to set it."""
    limits.now = (RESERVED + 15, RESERVED + 15)
    with pytest.raises(TooFewDescriptorsError, match=rf"{RESERVED + 15}.* at least {RESERVED + 16}.*ulimit"):
        descriptor_budget(4096)
    assert descriptor_budget(15).connections == 15
