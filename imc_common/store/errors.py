"""Errors of the connection to Redis."""

from __future__ import annotations

from imc_common.errors import ImcError

TRANSIENT = frozenset(
    (
        *("BUSY", "LOADING", "READONLY", "MISCONF", "OOM", "NOREPLICAS", "MASTERDOWN", "UNKILLABLE"),
        *("CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK"),
        *("NOAUTH", "NOPERM", "NOSCRIPT"),
    )
)
"""Error codes that describe the state of the server, not a fault of the command: retry later."""


class StoreUnreachable(ImcError):
    """No reply came, so it is unknown whether the commands had an effect. Retrying them is always safe."""


class NotDurable(StoreUnreachable):
    """The commands had their effect, but did not reach the disks or replicas that `durability` requires."""


class StoreRefused(ImcError):
    """This Redis cannot be used as it is configured. The text says what to change."""


class ReplyError(Exception):
    """An error reply of Redis to one command. `code` is its first word (``WRONGTYPE``, ``OOM``)."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = text.partition(" ")[0]

    @property
    def transient(self) -> bool:
        """Whether the state of the server is the cause, so that the same command may succeed later."""
        return self.code in TRANSIENT


def raise_if_transient(reply: object) -> None:
    """Raise StoreUnreachable if Redis has refused the command only for now: then nothing is known."""
    if isinstance(reply, ReplyError) and reply.transient:
        raise StoreUnreachable(str(reply))


def reached(reply: object) -> int:
    """The number of disks (WAITAOF; its first number, for this server) or replicas (WAIT) in a reply."""
    if isinstance(reply, list):
        reply = reply[0]
    return reply if isinstance(reply, int) else 0
