"""``make demo-linphone``: three Linphones in a group chat, on this machine.

It starts Redis, Kamailio with the configuration of ``deploy/lb``, two edges, a worker, and three users of
liblinphone without windows. They make a room, talk, change it, and one of them is away for a while. Each step
waits until every app shows it; the exit status is 0 if all did.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from contextlib import ExitStack
from ctypes import CDLL
from pathlib import Path

from tests.integration.peers.group_linphone import GroupLinphone
from tests.integration.peers.kamailio import Site, site
from tests.integration.peers.liblinphone import LIBRARY

DOMAIN = "example.org"
NEEDED = ("redis-server", "kamailio", "kamcmd")
INSTALL = "apt-get install redis-server kamailio liblinphone10 linphone-common"


def missing() -> list[str]:
    """What has to be installed first."""
    found = [program for program in NEEDED if shutil.which(program) is None]
    try:
        CDLL(LIBRARY)
    except OSError:
        found.append(LIBRARY)
    return found


def show(text: str) -> None:
    """Tell what happens, at once."""
    print(text, flush=True)  # what the command is for


class Demo:
    """Three users with their Linphones, and the room that they share."""

    def __init__(self, folder: Path, running: Site, stack: ExitStack) -> None:
        host, port = running.address
        proxy = f"sip:{host}:{port};transport=tcp"
        self.phones = {}
        for name in ("alice", "bob", "carol"):
            phone = GroupLinphone(folder, name, proxy, "unused", domain=DOMAIN)
            stack.callback(phone.stop)
            phone.start()
            self.phones[name] = phone
        self.room = ""

    def play(self) -> None:
        """The conversation. Raises AssertionError if an app does not show a step in time."""
        alice, bob, carol = self.phones.values()
        self.room = alice.create("Lunch", bob.address)
        show(f"alice has made the group chat Lunch with bob: {self.room}")
        bob.wait_for_room(self.room, alice=True)
        self.say("alice", "Lunch at one?", "bob")
        alice.assert_is("delivered", "Lunch at one?")
        bob.mark_as_read(self.room)
        alice.assert_is("displayed", "Lunch at one?")
        show("   alice sees that it was displayed")
        alice.add(self.room, carol.address)
        carol.wait_for_room(self.room, alice=True, bob=False)
        show("alice has added carol")
        alice.rename(self.room, "Lunch at Luigi's")
        for phone in (bob, carol):
            phone.wait_for_subject(self.room, "Lunch at Luigi's")
        show("alice has changed the subject: Lunch at Luigi's")
        bob.stop()
        show("(bob's phone is off.)")
        self.say("carol", "I am late.", "alice")
        self.say("alice", "So am I.", "carol")
        bob.start()
        show("(bob's phone is on again.)")
        for text in ("I am late.", "So am I."):
            bob.wait_for_text(self.room, text)
        show("   bob gets what he missed: " + " ".join(bob.texts_in(self.room)[1:]))
        alice.promote(self.room, bob.address)
        bob.wait_until_admin(self.room)
        carol.leave_room(self.room)
        alice.wait_for_room(self.room, bob=True)
        bob.wait_for_room(self.room, alice=True)
        show("bob is an administrator, carol has left")

    def say(self, name: str, text: str, *readers: str) -> None:
        """Send a text; each reader must see it, from its author."""
        phone = self.phones[name]
        phone.write(self.room, text)
        for reader in readers:
            self.phones[reader].wait_for_text(self.room, text, phone.address)
        show(f"{name:>8}: {text}")


def main() -> int:
    """Play it once; returns the exit status."""
    if absent := missing():
        show(f"missing: {' '.join(absent)}. On Debian 12: {INSTALL}")
        return 2
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imc-linphone-")))
        show("Starting Redis, Kamailio, two edges, a worker and three Linphones ...")
        running = stack.enter_context(site(folder))
        demo = Demo(folder, running, stack)
        try:
            demo.play()
        except AssertionError as error:
            show(f"FAULT  {error}")
            return 1
    show("The group chat worked.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
