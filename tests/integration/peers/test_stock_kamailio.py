"""The changes of docs/migration.md in Debian's own kamailio.cfg, made word by word as a reader makes them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.peers.baresip import Baresip
from tests.integration.peers.linphone import Linphone
from tests.integration.peers.telephony import DOMAIN, PASSWORD, Platform, platform
from tests.processes import ROOT
from tests.tools import absent

pytestmark = pytest.mark.integration

STOCK = Path("/etc/kamailio/kamailio.cfg")
SNIPPETS = re.findall(
    r"```kamailio\n(.*?)```", (ROOT / "docs" / "migration.md").read_text(encoding="utf-8"), re.DOTALL
)
SITE = """
#!define WITH_MYSQL
#!define WITH_AUTH
#!define WITH_USRLOCDB
listen=udp:10.0.0.1:5060
listen=tcp:10.0.0.1:5060
alias="example.org"
auto_aliases=no
"""
"""What every operator sets: Debian's file does nothing without."""
SOCKETS = """
modparam("ctl", "binrpc", "unix:/run/kamailio/kamailio_ctl")
modparam("jsonrpcs", "fifo_name", "/run/kamailio/rpc.fifo")
modparam("jsonrpcs", "dgram_socket", "/run/kamailio/rpc.sock")
"""
"""Their default paths, which the test replaces by its own."""
ROOM = "chat-000@example.org"


def snippet(start: str) -> str:
    """The snippet of the page that begins so."""
    return next(text for text in SNIPPETS if text.startswith(start))


def changed() -> str:
    """Debian's configuration for example.org with the changes of the page."""
    if not STOCK.is_file():
        absent(f"{STOCK} is not there")
    text = STOCK.read_text()
    for before, after in (
        ("#!KAMAILIO\n", f"#!KAMAILIO\n{SITE}"),
        ('loadmodule "counters.so"\n', 'loadmodule "counters.so"\n' + snippet('loadmodule "dispatcher')),
        ("# ----- tm params -----\n", SOCKETS + snippet('modparam("dispatcher') + "\n"),
        ("#!define FLT_NATS 5\n", f"#!define FLT_NATS 5\n{snippet('#!define FLT_AUTH')}"),
        ("\t\t# user authenticated", "\t\tsetflag(FLT_AUTHENTICATED);\n\t\t# user authenticated"),
        (
            '\tif (!save("location")) {\n\t\tsl_reply_error();\n\t}\n\texit;\n',
            snippet('    if (!save("location")'),
        ),
        ("# Presence server processing\n", snippet("# A copy of the REGISTER")),
        ("# User location service\n", f"{snippet('# To a room')}\n{snippet('# From a room')}\n"),
        ("\troute(AUTH);\n", snippet("    route(FROM_EDGES);")),
        ("\troute(LOCATION);\n", snippet("    route(ROOMS);")),
    ):
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    return text


@pytest.fixture
def stock(tmp_path: Path) -> Iterator[Platform]:
    """A platform with this configuration."""
    with platform(tmp_path, "alice", "bob", "carol") as running:
        running.add_configuration("stock.cfg", changed())
        running.start_imc()
        running.start_proxy("stock.cfg")
        running.wait_for_edges(2)
        yield running


def test_debians_configuration_works_with_the_changes_of_the_page(stock: Platform, tmp_path: Path) -> None:
    """Users talk; who is not registered gets 480; rooms of the old kind are not needed."""
    alice = Linphone(tmp_path, "alice", stock.uri, PASSWORD, domain=DOMAIN)
    folder = tmp_path / "bob"
    folder.mkdir()
    bob = Baresip(folder, "bob", ROOM, PASSWORD, proxy=stock.uri)
    try:
        alice.start()
        bob.start()
        alice.say(f"sip:{ROOM}", "#create")
        bob.message("#join")
        bob.assert_gets_eventually(r"\*\*\* You have joined .*")
        alice.say(f"sip:{ROOM}", "hello")
        bob.assert_gets_eventually("<alice@example.org>: hello")
        bob.message("hello to you")
        alice.assert_gets_eventually("<bob@example.org>: hello to you")
        alice.say(f"sip:{ROOM}", "#invite carol")
        alice.assert_gets_eventually(r"\*\*\* You have invited carol@example.org\..*")
    finally:
        alice.stop()
        bob.stop()
