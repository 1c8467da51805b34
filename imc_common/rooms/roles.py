"""The roles of a room's members, and how Redis keeps them.

Parser, notices, MI and import use this list. The scripts' copies in `lua/include/room.lua` and
`lua/include/may_speak.lua`, and the pages of the documentation, are compared with it by tests.
"""

from __future__ import annotations

from typing import Final

ROLES: Final = ("owner", "admin", "member")
"""Highest first. Owners and admins administer the room; only owners make owners and destroy it."""

IN_CHARGE: Final = ("owner", "admin")
"""Who is told of denied invitations and of attempts to join a private room."""

INVITED: Final = "invited"
"""Stands in place of a role until the user accepts; an invited user is no member."""

CHOICE: Final = f"{', '.join(ROLES[:-1])} or {ROLES[-1]}"
"""The roles as a sentence names them."""

RANKS: Final = {role: rank for rank, role in enumerate((*ROLES, INVITED))}
"""The order in which members are listed."""

AWAY: Final = " away"
"""The end of the field of a member who could not be reached and has not come back."""

CLIENTS: Final = ("cpim", "text", "devices")
"""Follows the role and a space, if something is known of the member's client: its kind (`Event.client`),
or that the member's devices get the messages (`imc_common.devices`)."""

INVITING: Final = " inviting"
"""Follows the role of a member whose client was sent an INVITE that has no outcome yet."""

DEVICE: Final = "device"
"""The field of a device that gets messages."""


def role_of(value: bytes) -> str:
    """The role in a user's field of the members, or `INVITED`. Raises UnicodeDecodeError."""
    return value.decode().partition(" ")[0]


def is_away(value: bytes) -> bool:
    """Whether this field is that of a member who is away."""
    return value.endswith(AWAY.encode())
