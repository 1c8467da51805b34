"""Which devices of a user show rooms as group chats, and which of them were offered all rooms of the user.

A REGISTER says the first (`imc_edge.receiving.registration`). For the second, the hash of a user has the
number of times at which the user got a room, in the field `rooms`; and for each device that number as it was
when the device was offered all rooms. While both are equal, a REGISTER costs no more than looking at them. An
offer that found nobody is counted, too, so the next REGISTER leads to it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from imc_common import keys
from imc_common.devices import user_of
from imc_common.scripts import Command

KNOWN_MS: Final = 7 * 24 * 3600 * 1000
"""For how long after its last REGISTER a device is remembered."""
MAX_KNOWN: Final = 32
"""Devices of one user that are remembered. If there are more, all are forgotten, and offered rooms again."""
_ROOMS: Final = "rooms"
_NEVER: Final = "-1"


class Offered(NamedTuple):
    """How many rooms the user has got, and at which number the device was offered all; -1: never.

    `is_new`: Redis did not know the device.
    """

    rooms: int
    offered: int
    is_new: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether the user has got no room since."""
        return self.offered == self.rooms


def note(device: str) -> list[Command]:
    """Note that this device shows group chats, and ask what it was offered: `offered` reads the replies.

    From here on, who gives the user a room finds the device (`devices_of`), or `count` is seen later.
    """
    name = _key(user_of(device))
    return [
        ("HSETNX", name, device, _NEVER),
        ("PEXPIRE", name, KNOWN_MS),
        ("HLEN", name),
        ("HMGET", name, _ROOMS, device),
    ]


def offered(replies: Sequence[Any]) -> tuple[Offered, bool]:
    """What the replies to `note` say, and whether the user has too many devices."""
    count, (rooms, at) = replies[2], replies[3]
    return Offered(int(rooms or 0), int(at or _NEVER), replies[0] == 1), count > MAX_KNOWN


def mark(device: str, rooms: int) -> list[Command]:
    """Note that the device was offered all rooms that the user had when `note` read this number."""
    name = _key(user_of(device))
    return [("HSET", name, device, rooms), ("PEXPIRE", name, KNOWN_MS)]


def forget(device: str) -> Command:
    """The device is not there: it is offered all rooms when it registers again."""
    return ("HDEL", _key(user_of(device)), device)


def forget_all(user: str) -> Command:
    """The same for all devices of a user."""
    return ("DEL", _key(user))


def look_up(user: str) -> Command:
    """Asks for the devices of a user; `devices_in` reads the reply."""
    return ("HKEYS", _key(user))


def devices_in(reply: Any) -> list[str]:
    """The devices in the reply to `look_up`; none if it is an error."""
    found = [name.decode() for name in reply] if isinstance(reply, list | set) else []
    return sorted(name for name in found if name != _ROOMS)


def count(user: str) -> list[Command]:
    """The user is about to get a room, or a device was offered one in vain. Only for users with devices."""
    name = _key(user)
    return [("HINCRBY", name, _ROOMS, 1), ("PEXPIRE", name, KNOWN_MS, "NX")]


def _key(user: str) -> str:
    return keys.client_devices(keys.user_shard(user), user)
