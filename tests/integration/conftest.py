"""Services and users for whole-system tests."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from tests.integration.service import SERVERS, Service, service, valkey_server
from tests.integration.sip_user import SipUser
from tests.processes import MEASURING

on_redis = pytest.mark.parametrize("imc", ["redis"], indirect=True)
"""For tests of programs that speak SIP with an edge: what is behind it makes no difference."""

OpenUser = Callable[..., Awaitable[SipUser]]


MEASURED = {"test_chat", "test_identity", "test_mi", "test_seeing", "test_up"}
"""Tests of commands that no smaller test runs."""


@pytest.fixture(autouse=True)
def unmeasured(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes that other tests start do not measure their coverage (`tests/processes.py`)."""
    if request.path.stem not in MEASURED:
        for name in MEASURING:
            monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session", params=list(SERVERS))
def imc(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service with default settings for all tests, once on Redis and once on Valkey."""
    with service(tmp_path_factory.mktemp(request.param), request.param) as running:
        yield running


@pytest.fixture
async def open_user(imc: Service) -> AsyncIterator[OpenUser]:
    """Opens users of this test alone and closes them after it. Limits count a user, at whatever port."""
    users: list[SipUser] = []
    test = secrets.token_hex(2)

    async def make(name: str, edge: tuple[str, int] = imc.edge) -> SipUser:
        users.append(await SipUser.open(f"{name}-{test}", edge))
        return users[-1]

    yield make
    for user in users:
        user.close()


@pytest.fixture
def room() -> str:
    """The URI of a new room."""
    return f"sip:room-{secrets.token_hex(4)}@example.org"


@pytest.fixture(scope="session")
def imc_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an unused Valkey."""
    with valkey_server(tmp_path_factory.mktemp("valkey")) as url:
        yield url
