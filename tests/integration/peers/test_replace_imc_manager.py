"""The configurations of docs/migration.md run: before, after, and back, with the same phones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.peers.baresip import Baresip
from tests.integration.peers.linphone import Linphone
from tests.integration.peers.telephony import DOMAIN, PASSWORD, Platform, platform

pytestmark = pytest.mark.integration

ROOM = "chat-000@example.org"


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Platform]:
    """A platform whose rooms are in Kamailio's module."""
    with platform(tmp_path, "alice", "bob", "carol") as running:
        running.start_proxy("before.cfg")
        yield running


@pytest.fixture
def alice(old: Platform, tmp_path: Path) -> Iterator[Linphone]:
    """A Linphone that is registered with the proxy."""
    phone = Linphone(tmp_path, "alice", old.uri, PASSWORD, domain=DOMAIN)
    phone.start()
    yield phone
    phone.stop()


@pytest.fixture
def bob(old: Platform, tmp_path: Path) -> Iterator[Baresip]:
    """A baresip that is registered with the proxy."""
    folder = tmp_path / "bob"
    folder.mkdir()
    phone = Baresip(folder, "bob", ROOM, PASSWORD, proxy=old.uri)
    phone.start()
    yield phone
    phone.stop()


def test_users_of_the_old_module_go_on_with_imc_and_back(
    old: Platform, alice: Linphone, bob: Baresip, tmp_path: Path
) -> None:
    """The steps of the page, in its order. Nobody registers or joins again."""
    room = f"sip:{ROOM}"
    alice.say(room, "#create chat-000")
    alice.assert_gets_eventually(r"\*\*\* Room was created")
    bob.message("#join")
    alice.assert_gets_eventually(r"\*\*\* \[bob\] has joined the room")
    bob.assert_gets_eventually(r"\*\*\* \[bob\] has joined the room")
    bob.message("before")
    alice.assert_gets_eventually(r"\[bob\]: before")
    alice.say(room, "before")
    bob.assert_gets_eventually(r"\[alice\]: before")

    old.stop_proxy()
    said = old.imc("import", "--from", old.database)
    assert "created 1, completed 0, unchanged 0" in said
    old.start_imc()
    old.start_proxy("after.cfg")
    old.wait_for_edges(2)
    alice.say(room, "after")
    bob.assert_gets("<alice@example.org>: after")
    bob.message("after")
    alice.assert_gets("<bob@example.org>: after")
    carol = Linphone(tmp_path, "carol", old.uri, PASSWORD, domain=DOMAIN, cpim=True)
    carol.start()
    carol.say(room, "#join")
    for phone in (alice, bob):
        phone.assert_gets(r"\*\*\* carol@example.org has joined.")
    carol.assert_gets(r"\*\*\* You have joined this room.*")
    carol.say(room, "in CPIM")
    for phone in (alice, bob):
        phone.assert_gets(r".*in CPIM")

    old.stop_proxy()
    assert "wrote 1 rooms with 3 members" in old.imc("export", "--to", old.database)
    old.start_proxy("before.cfg")
    alice.say(room, "back")
    for phone in (bob, carol):
        phone.assert_gets_eventually(r"\[alice\]: back")
    carol.stop()
