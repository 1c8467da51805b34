"""Linphone behind a proxy that forks an INVITE to a user: its devices know rooms under their user's address.

So does any proxy without step 6 of docs/linphone.md. Such a device does not say which one it is.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.peers.group_linphone import GroupLinphone
from tests.integration.peers.telephony import DOMAIN, FILES, PASSWORD, Platform, platform

pytestmark = pytest.mark.integration

SECOND_INVITE_SECONDS = 4.0
"""Until the second INVITE has had its effect. Nothing says so: at the end, all is as before."""
ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"


@pytest.fixture
def telephony(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform whose proxy does not answer an INVITE with the devices."""
    with platform(tmp_path_factory.mktemp("platform"), "alice", "bob") as running:
        settings = (FILES / "imc.toml").read_text().replace("chat-.*", "(chat|chatroom)-.*")
        running.add_configuration("imc.toml", settings + "history_max_messages = 500\n")
        forking = (FILES / "linphone.cfg").read_text().replace("        route(NAME_DEVICES);\n", "")
        forking = forking.replace("    route(TELL_EDGES);\n", "")
        running.add_configuration("linphone.cfg", forking)
        running.start_imc()
        running.start_proxy("linphone.cfg")
        running.wait_for_edges(2)
        yield running


def test_devices_that_do_not_name_themselves_miss_nothing(telephony: Platform, tmp_path: Path) -> None:
    """Each gets what the user's other device says, and drops the echo of its own messages."""

    def phone(name: str, device: str = "phone") -> GroupLinphone:
        proxy = telephony.uri.replace("udp", "tcp")
        made = GroupLinphone(tmp_path, name, proxy, PASSWORD, domain=DOMAIN, device=device)
        made.start()
        return made

    alice, bob, tablet = phone("alice"), phone("bob"), phone("bob", "tablet")
    try:
        room = alice.create("forked", BOB)
        for device in (bob, tablet):
            device.wait_for_room(room, alice=True)
        alice.wait_for_devices(room, BOB, 2)
        bob.write(room, "from the phone")
        tablet.wait_for_text(room, "from the phone", BOB)
        alice.wait_for_text(room, "from the phone", BOB)
        tablet.write(room, "from the tablet")
        bob.wait_for_text(room, "from the tablet", BOB)
        alice.write(room, "to both")
        for device in (bob, tablet):
            device.wait_for_text(room, "to both", ALICE)
        assert bob.texts_in(room) == ["from the tablet", "to both"]
        assert tablet.texts_in(room) == ["from the phone", "to both"]
        # imc knows no device: the INVITE goes to both, and each ends the session that it has.
        bob.write(room, "#open")
        time.sleep(SECOND_INVITE_SECONDS)
        alice.write(room, "once more")
        for device in (bob, tablet):
            device.wait_for_text(room, "once more", ALICE)
        assert len(alice.devices(room, BOB)) == 2
        assert not bob.has_left(room)
        assert not tablet.has_left(room)
    finally:
        for each in (alice, bob, tablet):
            each.stop()
