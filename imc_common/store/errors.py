"""What can go wrong on the way to Redis."""

from __future__ import annotations

from redis.exceptions import ResponseError

from imc_common.errors import ImcError

TRANSIENT = frozenset(
    (
        *("BUSY", "LOADING", "READONLY", "MISCONF", "OOM", "NOREPLICAS", "MASTERDOWN", "UNKILLABLE"),
        *("CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK"),
        *("NOAUTH", "NOPERM", "NOSCRIPT"),
    )
)
"""Error codes that tell of the server's state, not of the command: waiting and trying again is right."""


class StoreUnreachable(ImcError):
    """No answer came: whether the commands had an effect is unknown. Trying again is harmless by design."""


class NotDurable(StoreUnreachable):
    """The commands had their effect, but not on as many disks or replicas as `durability` asks for."""


class StoreRefused(ImcError):
    """This Redis cannot be used as it is; the text says what to change."""


class ReplyError(ResponseError):
    """An error that Redis answered one command with; `code` is its first word (``WRONGTYPE``, ``OOM``)."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = text.partition(" ")[0]

    @property
    def transient(self) -> bool:
        """Whether the server is the cause, so that the same command may succeed later."""
        return self.code in TRANSIENT


def reached(reply: object) -> int:
    """How many disks or replicas WAITAOF (first this server's, then replicas') or WAIT speaks of."""
    if isinstance(reply, list):
        reply = reply[0]
    return reply if isinstance(reply, int) else 0
