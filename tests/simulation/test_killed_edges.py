"""An edge is killed while it invites the devices of a user, at many moments: all of them get the room."""

from __future__ import annotations

import json
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from imc_common import keys
from imc_common.scripts import Scripts
from tests.chaos.conference import actions
from tests.chaos.conference.group_chat import Guest
from tests.chaos.conference.phone import Phone
from tests.chaos.conference.wire import Message
from tests.servers import Server
from tests.simulation.group_chats import GroupChatRun
from tests.simulation.processes import HASH_SIZE
from tests.simulation.test_simulation import scripts, server

__all__ = ["scripts", "server"]
pytestmark = [pytest.mark.integration, pytest.mark.slow]

Result = TypeVar("Result")

SEED = 297
"""Of a run with such a user."""
SECONDS = 40
"""Until another edge has taken the shard over, and a device without ACK has ended its session and is back."""


class _Run(GroupChatRun):
    """A host makes a room with a user who has two devices. All edges are killed once."""

    def play_open(self, moment: float, without: float, second_plan: str) -> tuple[str, Guest]:
        """A user has a room on two devices, and asks for it by `#open`: a proxy forks that INVITE.

        All edges are killed ``moment`` seconds after that, and there is none for the seconds ``without``.
        ``second_plan``: of the second device.
        """
        simulation, (host, guest), registrar = self.simulation, self._users(), self._proxy.registrar
        registrar.redirects.discard(guest.user)
        registrar.is_obedient = True
        simulation.run_until(simulation.now + 2)
        made = self._loop.start(actions.create(host.phones[0], "Lunch", [guest.user]))
        simulation.run_until(simulation.now + 20)
        (first, second), room = guest.phones, made.result()

        def plan(phone: Phone, request: Message) -> str:
            return second_plan if phone is second and phone.accepted == 1 else "accept"

        registrar._plan = plan  # type: ignore[method-assign]
        self._run(actions.open_room(first, first.places[room]))
        self._kill_edges(moment)
        simulation.run_until(simulation.now + without)
        self.add_edge()
        simulation.run_until(simulation.now + 2 * SECONDS)
        return room, guest

    def _users(self) -> tuple[Guest, Guest]:
        """A host, and a guest with two devices."""
        self._loss = 0.0
        everyone = [each for chat in self._chats.chats for each in chat.everyone]
        guest = next(each for each in everyone if len(each.phones) == 2)
        return next(each for each in everyone if each is not guest), guest

    def _run(self, request: Coroutine[Any, Any, Result]) -> Result:
        """What a phone gets for this, in simulated time."""
        task = self._loop.start(request)
        while not task.done():
            self.simulation.run_until(self.simulation.now + 0.001)
        result: Result = task.result()
        return result

    def _kill_edges(self, moment: float) -> None:
        self.simulation.run_until(self.simulation.now + moment)
        for edge in self.edges:
            edge.kill()
        self.edges.clear()

    def devices(self, room: str) -> list[tuple[str, str]]:
        """The devices in the room, each with the tag of its session, as Redis has it."""
        shard = keys.shard_of(room, HASH_SIZE)
        found = []
        for name in self._room_in_redis(room)[1]:
            text = self.server.run(("HGET", keys.Keys().room(shard, room), f"dialog:{name}")) or b"{}"
            found.append((name.removesuffix(";aor"), json.loads(text).get("remote_tag", "")))
        return sorted(found)

    def play_until_killed(self, moment: float, first_plan: str, away: float = 0.0) -> tuple[str, Guest]:
        """``moment``: seconds after the room was made. ``first_plan``: of the second device.

        ``away``: for so many seconds after that, no request reaches the devices.
        """
        simulation, (host, guest) = self.simulation, self._users()
        registrar = self._proxy.registrar
        registrar.redirects.add(guest.user)
        plans = {guest.phones[1].name: [first_plan]}

        def plan(phone: Phone, request: Message) -> str:
            return plans[phone.name].pop() if plans.get(phone.name) else "accept"

        registrar._plan = plan  # type: ignore[method-assign]
        simulation.run_until(simulation.now + 2)
        room = self._run(actions.create(host.phones[0], "Lunch", [guest.user]))
        self._kill_edges(moment)
        self.add_edge()
        for phone in guest.phones if away else ():
            phone.absence = 0, 0.0
        simulation.run_until(simulation.now + away)
        for phone in guest.phones:
            phone.absence = None
        simulation.run_until(simulation.now + SECONDS)
        return room, guest


@pytest.mark.parametrize("first_plan", ["accept", "late", "silent"])
@pytest.mark.parametrize("moment", [0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.1, 0.2, 0.5, 1.0, 3.0])
def test_both_devices_that_a_proxy_has_named_are_in_the_room(
    moment: float, first_plan: str, server: Server, scripts: Scripts
) -> None:
    """Without a REGISTER. The first INVITE may not have reached one of them, or it accepts seconds later."""
    run = _Run(SEED, server.socket, scripts)
    try:
        room, guest = run.play_until_killed(moment, first_plan)
        _, devices, _ = run._room_in_redis(room)
        assert {each.name for each in guest.phones} <= set(devices)
        for each in guest.phones:
            place = each.places[room]
            assert place.is_in
            assert place.session is not None
            assert place.session.is_confirmed
        assert not run._problems
    finally:
        run.close()


@pytest.mark.parametrize("moment", [0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.1, 0.2])
def test_a_user_whose_devices_get_no_ack_for_a_while_stays_a_member(
    moment: float, server: Server, scripts: Scripts
) -> None:
    """The edge that takes the event over does not hear whether its ACKs arrive."""
    run = _Run(SEED, server.socket, scripts)
    try:
        room, guest = run.play_until_killed(moment, "accept", away=10.0)
        members, devices, _ = run._room_in_redis(room)
        assert guest.phones[0].name.partition(";")[0] in members
        assert {each.name for each in guest.phones} <= set(devices)
        assert all(each.places[room].is_in for each in guest.phones)
        assert not run._problems
    finally:
        run.close()


@pytest.mark.parametrize("second_plan", ["accept", "late"])
@pytest.mark.parametrize("without", [0.0, 40.0])
@pytest.mark.parametrize("moment", [0.005, 0.015, 0.03, 0.06, 0.1, 0.5])
def test_both_devices_are_still_in_the_room_after_open(
    moment: float, without: float, second_plan: str, server: Server, scripts: Scripts
) -> None:
    """Each ends the session that it has, and accepts. Perhaps no edge is there to report a new one."""
    run = _Run(SEED, server.socket, scripts)
    try:
        room, guest = run.play_open(moment, without, second_plan)
        sessions = [(each.name, each.places[room].session) for each in guest.phones]
        tags = [(name, session.local_tag) for name, session in sessions if session and session.is_confirmed]
        assert len(tags) == len(guest.phones)
        assert set(tags) <= set(run.devices(room))
        assert not run._problems
    finally:
        run.close()
