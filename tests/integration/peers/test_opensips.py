"""OpenSIPS in the place of Kamailio: the configurations in `deploy/opensips` with the same phones.

Run by `make test-opensips`, since Debian has no OpenSIPS.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.peers.baresip import Baresip
from tests.integration.peers.linphone import Linphone
from tests.integration.peers.opensips import FILES, OpenSipsPlatform, create_opensips_tables
from tests.integration.peers.telephony import DOMAIN, PASSWORD, Platform, platform_of
from tests.integration.peers.test_phone_off import *  # noqa: F403 # the same must be true here
from tests.integration.peers.test_phone_off import CATCH_UP_MAX, NAMES
from tests.integration.peers.test_telephony import *  # noqa: F403 # and this
from tests.integration.peers.test_telephony import (
    log_in,
    test_the_proxy_uses_the_other_edge_when_one_dies_or_drains,
)
from tests.integration.sip_user import SipUser
from tests.processes import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.opensips]

ROOM = f"sip:chat-000@{DOMAIN}"
STORE = """if (is_method("MESSAGE") && m_store()) {
            send_reply(202, "Accepted");
            exit;
        }
        """


@pytest.fixture(scope="module")
def telephony(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform that runs after.cfg of OpenSIPS, and imc. Rooms keep messages."""
    users = ("alice", "bob", "carol", "dave", *NAMES)
    settings = {"history_max_messages": "500", "catch_up_max": str(CATCH_UP_MAX)}
    with platform_of(OpenSipsPlatform, tmp_path_factory.mktemp("platform"), users, settings) as running:
        running.start_imc()
        running.start_proxy("after.cfg")
        running.wait_for_edges(2)
        yield running


@pytest.fixture
def old(tmp_path: Path) -> Iterator[OpenSipsPlatform]:
    """A platform whose rooms are in OpenSIPS's module."""
    with platform_of(OpenSipsPlatform, tmp_path, ("alice", "bob"), {}) as running:
        running.start_proxy("before.cfg")
        yield running


def test_users_of_the_old_module_go_on_with_imc_and_back(old: OpenSipsPlatform, tmp_path: Path) -> None:
    """The steps of the page, in its order. Nobody registers or joins again."""
    alice = Linphone(tmp_path, "alice", old.uri, PASSWORD, domain=DOMAIN)
    (tmp_path / "bob").mkdir()
    bob = Baresip(tmp_path / "bob", "bob", ROOM.removeprefix("sip:"), PASSWORD, proxy=old.uri)
    try:
        alice.start()
        bob.start()
        alice.say(ROOM, "#create chat-000")
        alice.assert_gets(r"\*\*\* room was created")
        bob.message("#join")
        for phone in (alice, bob):
            phone.assert_gets(r"\*\*\* <sip:bob@example.org> has joined the room")
        bob.message("before")
        alice.assert_gets("<bob@example.org>: before")

        old.stop_proxy()
        assert "created 1, completed 0, unchanged 0" in old.imc("import", "--from", old.database)
        old.start_imc()
        old.start_proxy("after.cfg")
        old.wait_for_edges(2)
        alice.say(ROOM, "after")
        bob.assert_gets_eventually("<alice@example.org>: after")  # behind the receipts of alice's phone
        bob.message("after")
        alice.assert_gets("<bob@example.org>: after")

        old.stop_proxy()
        assert "wrote 1 rooms with 2 members" in old.imc("export", "--to", old.database)
        old.start_proxy("before.cfg")
        alice.say(ROOM, "back")
        bob.assert_gets_eventually("<alice@example.org>: back")
    finally:
        alice.stop()
        bob.stop()


def test_an_edge_that_refuses_a_tcp_connection_is_passed_over(tmp_path: Path) -> None:
    """As one that does not respond over UDP."""
    with platform_of(OpenSipsPlatform, tmp_path, ("alice",), {}) as proxy:
        rows = (FILES / "dispatcher.sql").read_text().replace(":5060'", ":5060;transport=tcp'")
        proxy.add_configuration("dispatcher.sql", rows)
        proxy.start_imc()
        proxy.start_proxy("after.cfg")
        proxy.wait_for_edges(2)
        alice = Linphone(tmp_path, "alice", proxy.uri, PASSWORD, domain=DOMAIN)
        alice.start()
        try:
            test_the_proxy_uses_the_other_edge_when_one_dies_or_drains(proxy, lambda _: alice)
        finally:
            alice.stop()


async def test_the_old_module_counts_who_is_invited_and_refuses_long_texts(
    old: OpenSipsPlatform, tmp_path: Path
) -> None:
    """As the page says. The limit of 1,024 bytes includes the sender's address before the text."""
    alice = await SipUser.open("alice", old.address)
    bob = Linphone(tmp_path, "bob", old.uri, PASSWORD, domain=DOMAIN)
    await asyncio.to_thread(bob.start)
    try:
        before = "<alice@example.org>: "
        for text, status in (
            ("#create chat-000", 200),
            (f"#invite sip:{bob.address}", 200),
            ("x" * (1023 - len(before)), 200),
            ("x" * (1024 - len(before)), 500),
        ):
            assert (await log_in(alice, ROOM, text, "alice")).code == status, text
        await asyncio.to_thread(bob.assert_gets, "INVITE from: .*")
        [room] = old.ask("imc_list_rooms")["ROOMS"]
        assert (room["URI"], room["MEMBERS"]) == (ROOM, 2)
    finally:
        alice.close()
        await asyncio.to_thread(bob.stop)


def test_msilo_stores_nothing_that_comes_from_a_room(tmp_path: Path) -> None:
    """It stores what users without a phone are sent by others."""
    with platform_of(OpenSipsPlatform, tmp_path, ("alice", "bob"), {"history_max_messages": "500"}) as proxy:
        create_opensips_tables(proxy.database, "msilo")
        text = (FILES / "after.cfg").read_text()
        for old, new in (
            ("\nroute {\n", '\nloadmodule "msilo.so"\nmodparam("msilo", "db_url", "DB")\n\nroute {\n'),
            (
                'if (!db_does_uri_exist("$ru", "subscriber"))',
                f'{STORE}if (!db_does_uri_exist("$ru", "subscriber"))',
            ),
        ):
            assert text.count(old) == 1, old
            text = text.replace(old, new.replace("DB", proxy.database))
        proxy.add_configuration("msilo.cfg", text)
        proxy.start_imc()
        proxy.start_proxy("msilo.cfg")
        proxy.wait_for_edges(2)
        alice, bob = (
            Linphone(tmp_path, name, proxy.uri, PASSWORD, domain=DOMAIN) for name in ("alice", "bob")
        )
        room = f"sip:chat-{secrets.token_hex(4)}@{DOMAIN}"
        try:
            alice.start()
            bob.start()
            alice.say(room, "#create")
            bob.say(room, "#join")
            bob.assert_gets_eventually(r"\*\*\* You have joined .*")
            bob.leave()
            alice.say(room, "meanwhile")
            alice.say(f"sip:{bob.address}", "between us")
            wait_until(lambda: len(proxy.rows("SELECT id FROM silo")) == 1, "the message that is stored")
            bob.come_back()
            bob.assert_gets("<alice@example.org>: meanwhile")
            assert proxy.rows("SELECT body FROM silo") == [(b"between us",)]
        finally:
            alice.stop()
            bob.stop()
