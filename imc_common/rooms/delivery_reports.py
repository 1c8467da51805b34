"""Which ended deliveries have a consequence for a room, and which: edges and workers have to agree on it.

An edge reports such a delivery to the room's worker, in an entry of type `delivery_report`. All others only
count.
"""

from __future__ import annotations

from typing import Final, Literal

from imc_common.rooms.event import (
    BYE,
    DROPPED,
    IDLE,
    INVITE,
    MORE,
    NO_HISTORY,
    NOTIFY,
    PROBE,
    REPLAY,
    REPORTED,
    Event,
)

NOT_SENT: Final = "away"
"""The outcome of a delivery that an edge did not try, because it knows that the recipient is away."""

WITHDRAWN: Final = "withdrawn"
"""The outcome of an INVITE that was not sent, or ended, because its user was removed meanwhile.

Also that of a BYE whose device has lost its session, and is not told in a new one while its user is a member.
"""

AWAY: Final = frozenset(
    {
        *("404", "408", "410", "430", "480", "500", "502", "503", "504", "604"),
        *("473", "474", "475", "476", "477", "478", "479"),
        *("no-target", "surplus", NOT_SENT),
    }
)
"""Outcomes that say that nobody is there now. All others refuse this message, and say nothing of the next.

404, 410 and 604 are among them: registrars respond so for a phone that is switched off (RFC 3261 §21.4.5).
If a phone's TCP connection has ended, a proxy responds 430 (RFC 5626 §11.1). 473 to 479 are in no RFC.
Kamailio and OpenSIPS respond so if they could not send to a contact: its connection has ended, its name
cannot be resolved, or it is on a list of unreachable destinations (`error.h` of both). Gateways respond 502
(RFC 3398 §7.2.4.1).
"""


def is_stored(event: Event) -> bool:
    """Whether a failure of this event leaves something to hand out later, if rooms keep messages at all."""
    return event.name == "message" and event.history_id != NO_HISTORY and event.catch_up != REPLAY


AS_TEXT: Final = "200-as-text"
"""The outcome of a message in CPIM that its recipient has accepted only as text."""

DECLINED: Final = frozenset({"486", "600", "603"})
"""Outcomes of an INVITE that a client of conferences has not accepted now. A user is asked again, as if it
were away; a device that was asked alone, when it registers (`lua/mark_away.lua`)."""

UNKNOWN_ROOM: Final = frozenset({"481", "488"})
"""Outcomes of a message by which a client of conferences says that it does not know the room."""

Consequence = Literal[
    "withdraw_invitation",
    "mark_away",
    "resume_catch_up",
    "welcome_back",
    "note_client",
    "admit_device",
    "admit_as_text",
    "settle_notify",
    "keep_farewell",
    "readmit_device",
]
"""The script that a worker runs."""


def consequence(
    event_name: str, outcome: str, catch_up: str = "", *, history: bool = False
) -> Consequence | None:
    """What follows from the delivery of such an event that ended with this outcome; None: nothing.

    ``catch_up`` is the event's. ``history``: the room keeps its messages, so a recipient that is away gets
    them later.
    """
    if outcome == AS_TEXT and catch_up not in REPORTED:  # those lead on, whatever the client prefers
        return "note_client"
    is_away = outcome in AWAY
    if event_name == "invited":
        # whatever else the reason, the user does not know of the invitation and will not
        return "mark_away" if is_away and history else "withdraw_invitation"
    if event_name == INVITE:
        if outcome == WITHDRAWN:
            return None
        if outcome.startswith("2"):
            return "admit_device"
        return "mark_away" if is_away or outcome in DECLINED else "admit_as_text"
    if event_name == NOTIFY:
        return "settle_notify"
    if event_name in {BYE, DROPPED}:
        return _of_farewell(event_name, outcome, catch_up)
    if event_name == IDLE:
        return None if is_away else "welcome_back"
    if event_name != "message":
        return None
    if is_away:
        return "mark_away" if history else None
    if outcome in UNKNOWN_ROOM and catch_up not in REPORTED:
        return "settle_notify"
    return "resume_catch_up" if catch_up == MORE else "welcome_back" if catch_up == PROBE else None


def _of_farewell(event_name: str, outcome: str, catch_up: str) -> Consequence | None:
    """What follows from what tells a user or a device that the user is no member any more."""
    if outcome in AWAY or outcome == WITHDRAWN:
        return "keep_farewell"
    if event_name == BYE:
        return "readmit_device"
    return "welcome_back" if catch_up == PROBE else None
