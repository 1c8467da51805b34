"""What a room needs before a test: each step is one command, and its notices are checked."""

from __future__ import annotations

from tests.integration.sip_user import SipUser, notice


def short(room: str) -> str:
    """The address of a room URI."""
    return room.removeprefix("sip:")


def user_part(room: str) -> str:
    """The user part of a room URI."""
    return short(room).partition("@")[0]


async def create(owner: SipUser, room: str, private: bool = False) -> None:
    """The user creates the room and gets the notice."""
    await owner.say(room, "#create private" if private else "#create")
    await owner.assert_gets(notice("You have created"))


async def join(user: SipUser, room: str, *members: SipUser) -> None:
    """The user joins a public room; all members get the notice."""
    await user.say(room, "#join")
    for one in members:
        await one.assert_gets(notice(user.address, "has joined"))
    await user.assert_gets(notice("joined"))


async def add(by: SipUser, user: SipUser, room: str, *others: SipUser) -> None:
    """An owner or admin adds the user; all members get the notice."""
    await by.say(room, f"#add sip:{user.address}")
    for one in (by, *others):
        await one.assert_gets(notice(user.address, "added"))
    await user.assert_gets(notice("added"))


async def invite(by: SipUser, user: SipUser, room: str) -> None:
    """An owner or admin invites the user; both get a notice."""
    await by.say(room, f"#invite sip:{user.address}")
    await user.assert_gets(notice(f"{by.address} invites you", "#accept", "#deny"))
    await by.assert_gets(notice(f"You have invited {user.address}"))


async def promote(by: SipUser, user: SipUser, role: str, room: str, *others: SipUser) -> None:
    """The user gets the role; all members get the notice."""
    await by.say(room, f"#modify sip:{user.address} {role}")
    for one in (by, *others):
        await one.assert_gets(notice(user.address, role))
    await user.assert_gets(notice(role))
