"""Users that come back, and users that leave.

Edges learn of both from the user's own messages and registrations, operators say so with MI. Then two things
follow. All edges are told (`announcement`): a delivery that waits for the user is sent again at once. And
each shard in which the user missed something gets a request `user_online` (`wake_up`), on which its worker
starts to hand out what was missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from imc_common import keys
from imc_common.rooms.request import RoomRequest
from imc_common.scripts import Command
from imc_common.store.errors import ReplyError
from imc_common.store.protocols import CommandRunner

USER_ONLINE: Final = "user_online"
"""Type of the request on which a worker hands out what a user has missed in the rooms of its shard."""

NO_REGISTRAR: Final = '399 imc "contacts are not stored here"'
"""Warning (RFC 3261 §20.43) in the 200 to a REGISTER: a client that takes an edge for a registrar sees it."""

_ONLINE: Final = "online"
_OFFLINE: Final = "offline"


class Presence(NamedTuple):
    """A user that came back (`online`) or left."""

    user: str
    online: bool

    @classmethod
    def parse(cls, payload: bytes) -> Presence | None:
        """The message of `announcement`; None for anything else, which another version may send."""
        word, _, user = payload.decode(errors="replace").partition(" ")
        return cls(user, word == _ONLINE) if user and word in {_ONLINE, _OFFLINE} else None


def announcement(user: str, *, online: bool) -> Command:
    """Tells all edges. A loss does no harm: probes find out, too."""
    return ("PUBLISH", keys.PRESENCE, f"{_ONLINE if online else _OFFLINE} {user}")


def look_up(user: str) -> Command:
    """Asks in which shards the user may have missed something; `shards_in` reads the reply."""
    return ("SMEMBERS", keys.away_shards(user))


def shards_in(reply: Any, shards: int) -> list[int]:
    """The shards in a reply to `look_up`, of ``shards`` that there are; none if the reply is an error."""
    if not isinstance(reply, list | set):
        return []
    numbers = [int(member) for member in reply if member.isdigit()]
    return sorted(number for number in numbers if number < shards)


def wake_up(user: str, shards: Sequence[int]) -> list[Command]:
    """Make these shards hand out what the user missed: one request each, then they are removed from the list.

    A delivery that fails at the same moment writes its shard to the list again, after its outcome. So the
    list never lacks a shard in which the user is away.
    """
    request = RoomRequest(type=USER_ONLINE, sender=user, room=user).to_fields()
    commands: list[Command] = [("XADD", keys.requests(shard), "*", *request) for shard in shards]
    return [*commands, ("SREM", keys.away_shards(user), *shards)]


def note_away(user: str, shards: Sequence[int]) -> Command:
    """Notes that the user may have missed something in these shards."""
    return ("SADD", keys.away_shards(user), *shards)


async def user_is_online(store: CommandRunner, user: str, shards: int) -> int:
    """Do all that follows from a user's return; gives the number of shards that hand something out.

    Raises StoreUnreachable, and `ReplyError` if Redis refused a request; the shards stay on the list then.
    They are removed last: a Redis whose memory is full would not take them again.
    """
    reply, _ = await store.run([look_up(user), announcement(user, online=True)])
    if isinstance(reply, ReplyError):
        raise reply
    found = shards_in(reply, shards)
    if found:
        *requests, removal = wake_up(user, found)
        replies = await store.run(requests)
        refused = next((each for each in replies if isinstance(each, ReplyError)), None)
        if refused is not None:
            raise refused
        await store.run([removal])
    return len(found)


async def user_is_offline(store: CommandRunner, user: str) -> None:
    """Tell all edges that a user has left. Raises StoreUnreachable."""
    await store.run([announcement(user, online=False)])
