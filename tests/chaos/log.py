"""What users sent and received, line by line."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What a received MESSAGE was about."""

    MESSAGE = "message"
    JOINED = "joined"
    LEFT = "left"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Received:
    """One MESSAGE that a user received from a room, without retransmissions of the same branch.

    ``what`` is the message's mark, the user who joined or left, or how many earlier messages are skipped.
    ``identity`` is its Call-ID, CSeq and From tag: the same for a repeated delivery, another for a doubled
    one. ``at`` is in seconds.
    """

    room: str
    kind: Kind
    what: str
    identity: str
    at: float


@dataclass(frozen=True, slots=True)
class Sent:
    """One message that a user sent: its mark, and whether it got a 2xx."""

    room: str
    sender: str
    mark: str
    accepted: bool
    at: float
