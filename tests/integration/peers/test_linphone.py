"""Two Linphones and a text client in one room: the author sees that a message was delivered and displayed.

In a room that is no group chat to them, Linphones send plain text, and receipts that name the delivery. With
an account of Linphone's own service they send CPIM, and refuse it from others: From inside is not the room.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.integration.peers.conftest import MakeBaresip, MakeLinphone
from tests.integration.peers.telephony import DOMAIN, FILES, Platform, platform

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def telephony(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform whose rooms keep messages: an author is found there."""
    with platform(tmp_path_factory.mktemp("platform"), "alice", "bob", "carol") as running:
        settings = (FILES / "imc.toml").read_text() + "history_max_messages = 500\n"
        running.add_configuration("imc.toml", settings)
        running.start_imc()
        running.start_proxy("after.cfg")
        running.wait_for_edges(2)
        yield running


@pytest.mark.parametrize("cpim", [False, True], ids=["plain", "cpim"])
def test_two_linphones_and_a_text_client_share_a_room(
    linphone: MakeLinphone, baresip: MakeBaresip, cpim: bool
) -> None:
    """Receipts reach the author and nobody else."""
    room = f"chat-{secrets.token_hex(4)}@{DOMAIN}"
    alice, bob, carol = linphone("alice", cpim=cpim), linphone("bob", cpim=cpim), baresip("carol", room)
    alice.say(f"sip:{room}", "#create")
    alice.assert_gets(r"\*\*\* You have created .*")
    bob.say(f"sip:{room}", "#join")
    bob.assert_gets(r"\*\*\* You have joined .*")
    alice.assert_gets(r"\*\*\* bob@example.org has joined.")
    carol.message("#join")
    carol.assert_gets(r"\*\*\* You have joined .*")
    for phone in (alice, bob):
        phone.assert_gets(r"\*\*\* carol@example.org has joined.")

    alice.say(f"sip:{room}", "hello from Linphone")
    for member in (bob, carol):
        member.assert_gets("<alice@example.org>: hello from Linphone")
    alice.assert_is("delivered", "hello from Linphone")
    bob.read(f"sip:{room}")
    alice.assert_is("displayed", "hello from Linphone")

    carol.message("hello from baresip")
    for phone in (alice, bob):
        phone.assert_gets("<carol@example.org>: hello from baresip")
    bob.say(f"sip:{room}", "and from Bob")
    for member in (alice, carol):
        member.assert_gets("<bob@example.org>: and from Bob")
    bob.assert_is("delivered", "and from Bob")
