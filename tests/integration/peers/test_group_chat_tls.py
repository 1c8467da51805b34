"""Linphone's group chat with TLS on every leg: phones, Debian's Kamailio, edges.

All certificates come from an authority of the test's own. The phones, the proxy and the edges check them.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.peers.group_linphone import GroupLinphone
from tests.integration.peers.telephony import DOMAIN, FILES, PASSWORD, Platform, platform

pytestmark = pytest.mark.integration

ALICE, BOB, CAROL = (f"{name}@{DOMAIN}" for name in ("alice", "bob", "carol"))


@pytest.fixture
def telephony(tmp_path: Path) -> Iterator[Platform]:
    """A platform whose proxy and edges talk by TLS alone: neither side has another address of the other."""
    settings = {"room_pattern": "chatroom-.*", "tls_ca": "ca.pem", "tls_certificate": "edge.pem"}
    with platform(tmp_path, "alice", "bob", "carol", tls_private_key="edge.key", **settings) as running:
        running.add_certificates()
        over_udp, over_tls = "10.0.0.1:5060;transport=udp", "10.0.0.1:5061;transport=tls"
        running.add_configuration("imc.toml", (FILES / "imc.toml").read_text().replace(over_udp, over_tls))
        running.add_configuration("dispatcher.list", (FILES / "dispatcher-tls.list").read_text())
        for name in ("linphone.cfg", "tls.cfg"):
            running.add_configuration(name, (FILES / name).read_text())
        running.start_imc()
        running.start_proxy("linphone.cfg", "WITH_TLS")
        running.wait_for_edges(2)
        yield running


@pytest.fixture
def phones(telephony: Platform, tmp_path: Path) -> Iterator[list[GroupLinphone]]:
    """alice, bob and carol."""
    made = [
        GroupLinphone(tmp_path, name, telephony.tls_uri, PASSWORD, domain=DOMAIN, root_ca=tmp_path / "ca.pem")
        for name in ("alice", "bob", "carol")
    ]
    for each in made:
        each.start()
    yield made
    for each in made:
        each.stop()


def test_a_room_is_made_and_all_talk_in_it_over_tls(telephony: Platform, phones: list[GroupLinphone]) -> None:
    """Members, messages, receipts and the subject; also when one of the edges was killed."""
    alice, bob, carol = phones
    room = alice.create("before", BOB, CAROL)
    alice.wait_for_room(room, bob=False, carol=False)
    bob.wait_for_room(room, alice=True, carol=False)
    carol.wait_for_room(room, alice=True, bob=False)
    alice.write(room, "hello from alice")
    for member in (bob, carol):
        member.wait_for_text(room, "hello from alice", ALICE)
        member.mark_as_read(room)
    alice.assert_is("displayed", "hello from alice")
    next(iter(telephony.edges.values())).end(signal.SIGKILL)
    bob.write(room, "and from bob")
    alice.rename(room, "after")
    for member in (alice, carol):
        member.wait_for_text(room, "and from bob", BOB)
        member.wait_for_subject(room, "after")
