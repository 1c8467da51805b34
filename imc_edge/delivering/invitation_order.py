"""In which order the INVITEs and BYEs of a room reach the devices of one user.

Linphone ends its session with a room when it is invited to it again, and that is how a user leaves a room. So
nothing of an earlier stay of the user may be on its way when it is invited anew: neither an INVITE, nor the
session that one has made, nor the BYE that ends it. All of them are events of the room's shard, so one edge
sends them, in the order of its stream. INVITEs of one stay wait for each other only if they may reach the
same device.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Final

from imc_common.devices import user_of
from imc_edge.delivering.outgoing import Outgoing

if TYPE_CHECKING:  # the invitations know their order
    from imc_edge.delivering.invitation import Invitation

KNOWN_SECONDS: Final = 64.0
"""How long an INVITE is remembered: a late 2xx, or the report of an early one, may be under way."""

REPORT_SECONDS: Final = 16.0
"""A worker may come so late to the report of a device that has accepted. Sessions without ACK last longer."""

FAREWELL: Final = (-1, 0)
"""`Invitation.stay` of an INVITE to a device whose user is no member."""
Place = tuple[str, str]
"""A room and a user."""


class InvitationOrder:
    """The INVITEs and BYEs of the last time, by room and user."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """``clock`` is monotonic, in seconds."""
        self._clock = clock
        self._started: dict[Place, list[Invitation]] = {}
        self._byes: dict[Place, list[Outgoing]] = {}
        self._oldest: deque[tuple[float, Place]] = deque()

    def bye_started(self, outgoing: Outgoing, device: str) -> None:
        """A BYE is sent to a device."""
        self._forget()
        place = outgoing.event.room, user_of(device)
        self._byes.setdefault(place, []).append(outgoing)
        self._oldest.append((self._clock(), place))
        for each in self._started.get(place, ()):
            each.left(outgoing.event.dialog, device)

    def started(self, invitation: Invitation) -> None:
        """An INVITE is sent."""
        self._forget()
        self._started.setdefault(invitation.place, []).append(invitation)
        self._oldest.append((self._clock(), invitation.place))

    def all_started(self) -> list[Invitation]:
        """The INVITEs of the last time."""
        return [each for started in self._started.values() for each in started]

    def may_start(self, invitation: Invitation, *, is_latest: bool = True) -> bool:
        """Whether nothing of an earlier stay is under way; what is left of one is ended now.

        A farewell waits for nothing: it is part of what others wait for. ``is_latest``: none of a later stay
        waits, so this one may wait until a proxy no longer forks an accepted one to its device.
        """
        place, stay = invitation.place, invitation.stay
        if stay == FAREWELL:
            return True
        byes = [each for each in self._byes.get(place, ()) if each.pending and not each.abandoned]
        started = self._started.get(place, ())
        earlier = [each for each in started if each.stay < stay]
        for each in earlier:
            each.end_stay()
        same, device = [each for each in started if each.stay == stay], invitation.recipient
        is_first = not any(
            each.may_reach(device) or (is_latest and each.is_forked_to(device)) for each in same
        )
        return not byes and is_first and all(each.is_over for each in earlier)

    def is_needless(self, invitation: Invitation) -> bool:
        """Whether the device has accepted another INVITE of this stay while this one waited.

        Or just before: then this one was written before the report of that came to a worker.
        """
        device, made_at = invitation.recipient, invitation.made_at
        return any(
            each.accepted_at.get(device, -inf) >= made_at
            or each.reported_at.get(device, -inf) >= made_at - REPORT_SECONDS
            for each in self._started.get(invitation.place, ())
            if each.stay == invitation.stay
        )

    def _forget(self) -> None:
        """Forget what was long ago, and is over."""
        long_ago = self._clock() - KNOWN_SECONDS
        while self._oldest and self._oldest[0][0] <= long_ago:
            _, place = self._oldest.popleft()
            started = [each for each in self._started.pop(place, ()) if each.is_remembered(long_ago)]
            byes = [each for each in self._byes.pop(place, ()) if each.pending and not each.abandoned]
            if started:
                self._started[place] = started
            if byes:
                self._byes[place] = byes
            if started or byes:
                self._oldest.append((self._clock(), place))
