"""A telephone platform with imc, and phones for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.peers.baresip import Baresip
from tests.integration.peers.linphone import Linphone
from tests.integration.peers.telephony import DOMAIN, PASSWORD, Platform, platform

MakeLinphone = Callable[..., Linphone]
MakeBaresip = Callable[[str, str], Baresip]


@pytest.fixture(scope="module")
def telephony(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform that runs after.cfg and imc."""
    with platform(tmp_path_factory.mktemp("platform"), "alice", "bob", "carol", "dave") as running:
        running.start_imc()
        running.start_proxy("after.cfg")
        running.wait_for_edges(2)
        yield running


@pytest.fixture
def linphone(telephony: Platform, tmp_path: Path) -> Iterator[MakeLinphone]:
    """Starts a Linphone that registers with the platform: ``linphone(name, cpim=True, tcp=True)``."""
    phones: list[Linphone] = []

    def make(name: str, *, cpim: bool = False, tcp: bool = False) -> Linphone:
        proxy = telephony.uri.replace("udp", "tcp") if tcp else telephony.uri
        phones.append(Linphone(tmp_path, name, proxy, PASSWORD, domain=DOMAIN, cpim=cpim))
        phones[-1].start()
        return phones[-1]

    yield make
    for phone in phones:
        phone.stop()


@pytest.fixture
def baresip(telephony: Platform, tmp_path: Path) -> Iterator[MakeBaresip]:
    """Starts a baresip with one room that registers with the platform: ``baresip(name, room)``."""
    phones: list[Baresip] = []

    def make(name: str, room: str) -> Baresip:
        folder = tmp_path / f"baresip-{name}"
        folder.mkdir()
        phones.append(Baresip(folder, name, room, PASSWORD, proxy=telephony.uri))
        phones[-1].start()
        return phones[-1]

    yield make
    for phone in phones:
        phone.stop()
