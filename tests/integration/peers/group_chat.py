"""A platform whose proxy knows Linphone's group chat, and phones for it.

The proxy runs ``deploy/kamailio/linphone.cfg``: registrar and balancer for two edges and a worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from tests.integration.peers.group_linphone import GroupLinphone
from tests.integration.peers.telephony import DOMAIN, FILES, PASSWORD, Platform, platform_of
from tests.ports import free_port

MakeGroupLinphone = Callable[..., GroupLinphone]
ALICE, BOB, CAROL, DAVE = (f"{name}@{DOMAIN}" for name in ("alice", "bob", "carol", "dave"))


@contextmanager
def group_chat_platform(folder: Path, kind: type[Platform] = Platform, **more: str) -> Iterator[Platform]:
    """It runs; alice, bob, carol and dave may register. Edges and workers get more settings."""
    with platform_of(kind, folder, ("alice", "bob", "carol", "dave"), more) as running:
        settings = (FILES / "imc.toml").read_text().replace("chat-.*", "(chat|chatroom)-.*")
        settings += "max_invitations_per_hour = 0\nmax_invitations_per_target = 0\n"
        settings += f'history_max_messages = 500\nmi_listen = "127.0.0.1:{free_port()}"\n'
        running.add_configuration("imc.toml", settings)
        running.add_configuration("linphone.cfg", (running.files / "linphone.cfg").read_text())
        running.start_imc()
        running.start_proxy("linphone.cfg")
        running.wait_for_edges(2)
        yield running


@contextmanager
def group_phones(telephony: Platform, folder: Path) -> Iterator[MakeGroupLinphone]:
    """Starts a Linphone: ``phone(name, device="tablet", transport="udp")``. All end with the block."""
    phones: list[GroupLinphone] = []

    def make(name: str, *, device: str = "phone", transport: str = "tcp") -> GroupLinphone:
        proxy = telephony.uri.replace("udp", transport)
        made = GroupLinphone(folder, name, proxy, PASSWORD, domain=DOMAIN, device=device)
        phones.append(made)
        made.start()
        return made

    try:
        yield make
    finally:
        for each in phones:
            each.stop()
        # A phone of the next test is a new device: it would be offered the rooms that its user still has.
        with redis.Redis.from_url(telephony.redis.url) as client:
            for pattern in ("imc_rooms:*", "imc_members:*", "imc_devices:*", "imc:*:private_rooms:*"):
                for key in client.scan_iter(pattern):
                    client.delete(key)


@pytest.fixture(scope="module", name="telephony")
def telephony_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform whose proxy knows Linphone's group chat, for a module that imports this."""
    with group_chat_platform(tmp_path_factory.mktemp("platform")) as running:
        yield running


@pytest.fixture(name="phone")
def phone_fixture(telephony: Platform, tmp_path: Path) -> Iterator[MakeGroupLinphone]:
    """Starts a Linphone: ``phone(name, device="tablet", transport="udp")``."""
    with group_phones(telephony, tmp_path) as make:
        yield make
