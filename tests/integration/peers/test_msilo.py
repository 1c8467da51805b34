"""Kamailio's `msilo`, which stores messages for users without a phone, in the place of history and beside it.

The first test shows what users had before; the second one that the configuration of the migration page brings
no message twice.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.migration.databases import create_kamailio_tables
from tests.integration.peers.linphone import Linphone
from tests.integration.peers.telephony import DOMAIN, FILES, PASSWORD, Platform, platform
from tests.patience import PATIENCE
from tests.processes import wait_until

pytestmark = pytest.mark.integration

MODULE = """loadmodule "msilo.so"
modparam("msilo", "db_url", DBURL)
modparam("msilo", "outbound_proxy", "sip:10.0.0.1:5060")

request_route {
"""
STORED = "[Offline message - "
"""What msilo puts before each text, with the date behind it."""
OWN_REQUESTS = '    if (is_method("MESSAGE") && src_ip == myself) {\n        return;\n    }\n'
LOOKUP = "            case -1:\n            case -3:\n"
STORE = """if (is_method("MESSAGE") && m_store("$ru")) {
                    sl_send_reply("202", "Accepted");
                    exit;
                }
"""


def after(*changes: tuple[str, str]) -> str:
    """after.cfg with `msilo`, which hands out what it has when a user registers, and with these changes."""
    text = (FILES / "after.cfg").read_text()
    for old, new in (
        ("request_route {\n", MODULE),
        ("    route(TELL_EDGES);\n    exit;\n", "    route(TELL_EDGES);\n    m_dump();\n    exit;\n"),
        ("route[AUTH] {\n", f"route[AUTH] {{\n{OWN_REQUESTS}"),
        *changes,
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


IN_PLACE_OF_HISTORY = after(
    (
        '            sl_send_reply("480", "Not Registered");\n',
        f'            {STORE}            sl_send_reply("480", "Not Registered");\n',
    ),
)
BESIDE_HISTORY = after((LOOKUP, f"{LOOKUP}                {STORE}"))


class Pair:
    """alice and bob in a room, behind a proxy with `msilo`."""

    def __init__(self, proxy: Platform, folder: Path) -> None:
        self.room = f"sip:chat-{secrets.token_hex(4)}@{DOMAIN}"
        self.alice, self.bob = (
            Linphone(folder, name, proxy.uri, PASSWORD, domain=DOMAIN) for name in ("alice", "bob")
        )
        self.alice.start()
        self.bob.start()
        self.alice.say(self.room, "#create")
        self.bob.say(self.room, "#join")
        self.bob.assert_gets_eventually(r"\*\*\* You have joined .*")
        self._before = len(self.bob.texts())

    def shown(self) -> list[str]:
        """What bob's phone has shown since he joined."""
        return self.bob.texts()[self._before :]

    def wait_for(self, count: int) -> list[str]:
        """So many texts, when they are there."""
        wait_until(lambda: len(self.shown()) >= count, f"{count} texts: {self.shown()}", PATIENCE)
        return self.shown()


@contextmanager
def pair(folder: Path, configuration: str, history: int) -> Iterator[Pair]:
    """The two behind a proxy with this configuration; rooms keep so many messages."""
    with platform(folder, "alice", "bob", history_max_messages=str(history)) as proxy:
        create_kamailio_tables(proxy.database, "msilo")
        proxy.add_configuration("msilo.cfg", configuration)
        proxy.start_imc()
        proxy.start_proxy("msilo.cfg")
        proxy.wait_for_edges(2)
        both = Pair(proxy, folder)
        try:
            yield both
        finally:
            both.alice.stop()
            both.bob.stop()


def test_msilo_in_the_place_of_history_changes_the_texts(tmp_path: Path) -> None:
    """Each is shown with a line about its date, all at once: their order is left to the network."""
    with pair(tmp_path, IN_PLACE_OF_HISTORY, history=0) as both:
        both.bob.stop()
        for number in range(10):
            both.alice.say(both.room, f"meanwhile {number}")
        both.bob.start()
        shown = both.wait_for(10)
        assert all(text.startswith(STORED) for text in shown), shown
        assert sorted(text[-1] for text in shown) == list("0123456789")


def test_with_msilo_beside_history_nobody_gets_a_message_twice(tmp_path: Path) -> None:
    """`msilo` stores what users send each other, and rooms keep what is sent to them."""
    with pair(tmp_path, BESIDE_HISTORY, history=500) as both:
        both.bob.stop()
        for number in range(5):
            both.alice.say(both.room, f"meanwhile {number}")
        both.alice.say(f"sip:{both.bob.address}", "between us")
        both.bob.start()
        both.wait_for(6)
        both.alice.say(both.room, "the end")
        shown = both.wait_for(7)
        private = [text for text in shown if text.startswith(STORED)]
        assert len(private) == 1, shown
        assert private[0].endswith("between us")
        expected = [f"<alice@example.org>: meanwhile {number}" for number in range(5)]
        assert [text for text in shown if text not in private] == [*expected, "<alice@example.org>: the end"]
