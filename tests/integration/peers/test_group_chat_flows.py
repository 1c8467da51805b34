"""A whole life of a group chat while edges are killed, and rooms of many members: real Linphones.

Each wait is for a state, so no test depends on speed.
"""

from __future__ import annotations

import signal

import pytest

from tests.integration.peers.group_chat import (  # noqa: F401 # pytest finds fixtures by their import
    ALICE,
    BOB,
    CAROL,
    MakeGroupLinphone,
    phone_fixture,
    telephony_fixture,
)
from tests.integration.peers.group_linphone import GroupLinphone
from tests.integration.peers.telephony import DOMAIN, Platform
from tests.processes import Process

pytestmark = pytest.mark.integration

MEMBERS = 200


class Edges:
    """Two edges of which one at a time is dead, and the proxy knows it.

    So a slow machine does not use up the proxy's time for a request. `test_group_chat.py` has requests that
    meet an edge that has just been killed.
    """

    def __init__(self, telephony: Platform) -> None:
        self._telephony = telephony
        self._alive = list(telephony.edges.values())
        self._dead = self._alive.pop()
        self._kill(self._dead)

    def change(self) -> None:
        """The dead one is back; the other is killed."""
        self._dead.start()
        self._telephony.wait_for_edges(2)
        (alive,) = self._alive
        self._kill(alive)
        self._alive, self._dead = [self._dead], alive

    def _kill(self, edge: Process) -> None:
        edge.end(signal.SIGKILL)
        self._telephony.wait_for_edges(1)

    def restore(self) -> None:
        """Both live."""
        self._dead.start()
        self._telephony.wait_for_edges(2)


@pytest.mark.chaos  # minutes: the proxy takes half of one to notice each death
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_whole_life_of_a_room_beside_killed_edges(
    phone: MakeGroupLinphone, telephony: Platform, transport: str
) -> None:
    """Create, two devices, receipts, roles, subject, restart, remove, add, leave: each with another edge."""
    alice, bob, carol = (phone(name, transport=transport) for name in ("alice", "bob", "carol"))
    tablet = phone("bob", device="tablet", transport=transport)
    everybody = (alice, bob, tablet, carol)
    edges = Edges(telephony)
    room = alice.create("a life", BOB, CAROL)
    for device in (bob, tablet):
        device.wait_for_room(room, alice=True, carol=False)
    carol.wait_for_room(room, alice=True, bob=False)
    alice.wait_for_devices(room, BOB, 2)

    edges.change()
    alice.write(room, "one")
    for device in (bob, tablet, carol):
        device.wait_for_text(room, "one", ALICE)
    tablet.mark_as_read(room)
    carol.mark_as_read(room)
    alice.assert_is("displayed", "one")

    edges.change()
    alice.promote(room, BOB)
    for device in (bob, tablet):
        device.wait_until_admin(room)
    tablet.rename(room, "named by the tablet")
    for device in everybody:
        device.wait_for_subject(room, "named by the tablet")

    tablet.stop()
    alice.write(room, "two")
    bob.wait_for_text(room, "two", ALICE)
    edges.change()
    tablet.start()
    tablet.wait_for_text(room, "two", ALICE)

    edges.change()
    bob.remove(room, CAROL)
    carol.wait_until_left(room)
    alice.wait_for_room(room, bob=True)
    alice.add(room, CAROL)
    carol.wait_for_room(room, alice=True, bob=True)
    edges.restore()
    alice.leave_room(room)
    carol.wait_for_room(room, bob=True)
    assert _texts(room, bob, tablet) == [["one", "two"]] * 2


def _texts(room: str, *devices: GroupLinphone) -> list[list[str]]:
    return [device.texts_in(room) for device in devices]


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_large_room_is_shown_whole(phone: MakeGroupLinphone, telephony: Platform, transport: str) -> None:
    """Its roster is long, and holds up no message. Most members have no phone."""
    alice, bob = phone("alice", transport=transport), phone("bob", transport=transport)
    others = {f"member{number}": False for number in range(MEMBERS - 2)}
    room = alice.create("large", BOB, *(f"{name}@{DOMAIN}" for name in others))
    bob.wait_for_room(room, alice=True, **others)
    alice.wait_for_room(room, bob=False, **others)
    bob.stop()
    alice.write(room, "to two hundred")
    alice.rename(room, "larger")
    bob.start()
    bob.wait_for_text(room, "to two hundred", ALICE)
    bob.wait_for_subject(room, "larger")
    bob.wait_for_room(room, alice=True, **others)
