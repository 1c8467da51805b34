"""An edge is killed while it invites the devices of a user, at many moments: all of them get the room."""

from __future__ import annotations

import pytest

from imc_common.scripts import Scripts
from tests.chaos.conference import actions
from tests.chaos.conference.group_chat import Guest
from tests.chaos.conference.phone import Phone
from tests.chaos.conference.wire import Message
from tests.servers import Server
from tests.simulation.group_chats import GroupChatRun
from tests.simulation.test_simulation import scripts, server

__all__ = ["scripts", "server"]
pytestmark = [pytest.mark.integration, pytest.mark.slow]

SEED = 297
"""Of a run with such a user."""
SECONDS = 40
"""Until another edge has taken the shard over, and a device without ACK has ended its session and is back."""


class _Run(GroupChatRun):
    """A host makes a room with a user who has two devices. All edges are killed once."""

    def play_until_killed(self, moment: float, first_plan: str, away: float = 0.0) -> tuple[str, Guest]:
        """``moment``: seconds after the room was made. ``first_plan``: of the second device.

        ``away``: for so many seconds after that, no request reaches the devices.
        """
        simulation, everyone = self.simulation, [each for chat in self._chats.chats for each in chat.everyone]
        self._loss = 0.0
        guest = next(each for each in everyone if len(each.phones) == 2)
        host = next(each for each in everyone if each is not guest)
        registrar = self._proxy.registrar
        registrar.redirects.add(guest.user)
        plans = {guest.phones[1].name: [first_plan]}

        def plan(phone: Phone, request: Message) -> str:
            return plans[phone.name].pop() if plans.get(phone.name) else "accept"

        registrar._plan = plan  # type: ignore[method-assign]
        simulation.run_until(simulation.now + 2)
        made = self._loop.start(actions.create(host.phones[0], "Lunch", [guest.user]))
        while not made.done():
            simulation.run_until(simulation.now + 0.001)
        simulation.run_until(simulation.now + moment)
        for edge in self.edges:
            edge.kill()
        self.edges.clear()
        self.add_edge()
        for phone in guest.phones if away else ():
            phone.absence = 0, 0.0
        simulation.run_until(simulation.now + away)
        for phone in guest.phones:
            phone.absence = None
        simulation.run_until(simulation.now + SECONDS)
        return made.result(), guest


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
