"""The text of every notice: an event of a room as the body of a MESSAGE. All wording of the service is here.

Notices start with ``*** ``, so that nobody mistakes them for a member's words. They do not name the room:
they come from it, and clients show From. Every notice is printable: addresses are canonical ASCII, words of a
user (texts and nicknames) were checked by the parser, and other input went through `printable`.
"""

from __future__ import annotations

import math
from dataclasses import replace

from imc_common.bodies.content import READ_TYPES
from imc_common.bodies.essence import CPIM, PLAIN, essence
from imc_common.devices import user_of
from imc_common.rooms.commands import BY_WORD, COMMANDS
from imc_common.rooms.event import CATCH_UP, DEVICE_CLIENT, IDLE, OF_CONFERENCES, Event
from imc_common.rooms.history import retention
from imc_common.rooms.pages import pages
from imc_common.rooms.relayed import (
    Text,
    idle_notification,
    receipts_for_author,
    relayed_message,
    relayed_typing,
    wrapped,
)
from imc_common.rooms.request import EntryError
from imc_common.rooms.roles import CHOICE, RANKS, ROLES
from imc_common.settings import Settings

NOTICE = "*** "
NOTICES = {
    "created": "You have created this {detail} room. Send {start}help for a list of commands.",
    "joined": "{actor} has joined.",
    "already_member": "You are already a member of this room.",
    "join_refused": "{actor} wants to join, but this room is private."
    " To invite them, send {start}invite {actor}",
    "invited": "{actor} invites you to this room. Send {start}accept to join or {start}deny to decline.",
    "invitation_sent": "You have invited {user}.",
    "invitation_failed": "Your invitation was withdrawn: {user} {why}. Try again later.",
    "denied": "{actor} has declined the invitation.",
    "you_were_removed": "{actor} has removed you from this room.",
    "removed": "{actor} has removed {user}.",
    "you_were_banned": "{actor} has banned you from this room.",
    "banned": "{actor} has banned {user}.",
    "unbanned": "{actor} has lifted the ban of {user}.",
    "added": "{actor} has added {user}.",
    "role_changed": "{actor} has made {user} {role}.",
    "nickname_set": "{actor} is now called {detail}.",
    "topic_set": "{actor} has set the topic: {text}",
    "topic": "Topic: {text}",
    "no_topic": "This room has no topic. Owners and admins can set one: {start}topic text",
    "announce_set": "This room {announces} joins and leaves.",
    "left": "{actor} has left.",
    "muted": "Your client responds to each message automatically. These responses are no longer delivered."
    " If you have written this yourself, wait a minute and send it again.",
    "dropped": "{user} was away for too long and has been removed.",
    "you_were_dropped": "You were away for too long and have been removed from this room.",
    "skipped": "You have missed {detail} earlier messages. To see them, send {start}history more",
    "more_said": "There are more messages. To see them, send {start}history more",
    "nothing_said": "There are no such messages in the history of this room.",
    "history_set": "{actor} has changed what this room keeps: {keeps}",
    "destroyed": "{actor} has deleted this room.",
}
"""Events that are one sentence or two; the others have functions."""
_ONE_SKIPPED = "You have missed 1 earlier message. To see it, send {start}history more"
"""The same for a single message."""

TO_ACTOR = {
    "joined": "You have joined this room. Send {start}help for a list of commands.",
    "denied": "You have declined the invitation.",
    "removed": "You have removed {user}. To keep them out, send {start}ban {user}",
    "banned": "You have banned {user}. To undo this, send {start}unban {user}",
    "unbanned": "You have lifted the ban of {user}.",
    "added": "You have added {user}.",
    "role_changed": "You have made {user} {role}.",
    "nickname_set": "You are now called {detail} in this room.",
    "topic_set": "You have set the topic: {text}",
    "history_set": "You have changed what this room keeps: {keeps}",
    "left": "You have left this room.",
    "destroyed": "You have deleted this room.",
}
"""The same where the one recipient is the user who did it."""

TO_USER = {
    "added": "{actor} has added you to this room. Send {start}exit to leave.",
    "role_changed": "{actor} has made you {role}.",
}
"""The same where the one recipient is the user to whom it was done."""

OF_INVITATIONS = {
    "you_were_removed": "{actor} has withdrawn your invitation to this room.",
    "removed": "{actor} has withdrawn the invitation of {user}.",
}
_OWN_WITHDRAWAL = "You have withdrawn the invitation of {user}."
"""The same where the removed user was only invited."""

REASONS = {
    "unknown_room": "this room does not exist. Send {start}rooms for a list of rooms.",
    "not_member": "you are not a member of this room. To join it, send {start}join",
    "admins_only": "only owners and admins can do this. Send {start}list to see who they are.",
    "owner_only": "only an owner can do this. Send {start}list to see who they are.",
    "not_invited": "you have no open invitation to this room.",
    "user_is_member": "{user} is already a member.",
    "user_is_invited": "{user} is already invited and has not responded yet.",
    "not_in_room": "{user} is not in this room. Send {start}list to see the members.",
    "you_are_banned": "you are banned from this room.",
    "user_is_banned": "{user} is banned. To lift the ban, send {start}unban {user}",
    "not_banned": "{user} is not banned. Send {start}bans for a list.",
    "too_many_bans": "this room has too many bans. Lift one first: {start}unban user",
    "is_owner": "owners cannot be removed. Take the role away first: {start}modify {user} member",
    "confirm_exit": "you are the last owner. To delete the room, send {start}exit confirm. To hand it over,"
    " send {start}modify user owner",
    "last_owner": "you are the last owner. Make somebody else owner with {start}modify, or delete the room"
    " with {start}destroy.",
    "role_already": "{user} already has this role.",
    "bad_role": f"the role must be {CHOICE}.",
    "room_exists": "a room with this name already exists. Choose another name.",
    "room_full": "this room is full. Try again when somebody has left.",
    "too_many_devices": "{user} is in this room with too many devices already.",
    "too_many_rooms": "{user} cannot own more rooms.",
    "name_taken": "{detail} is taken. Choose another nickname.",
    "bad_name": "{detail} cannot be a nickname. Use one word with letters, of up to 32 characters.",
    "is_room": "a room cannot be a member of itself.",
    "no_history": "rooms keep no messages here.",
    "bad_text": "the text can have at most {detail} characters, and no control characters.",
    "bad_argument": "{detail} is not a valid address. Write it like this: {usage}",
    "foreign_domain": "there are no rooms in the domain of {detail}",
    "bad_room": "{detail} cannot be the name of a room.",
    "not_a_user": "{detail} receives commands and cannot be a member.",
    "command_type": f"commands are read in {READ_TYPES} bodies only. Send it as plain text.",
}
"""Why a command or message was refused; `unknown_command`, `usage` and `no_room` have a form of their own."""

ABOUT_YOURSELF = {
    "user_is_member": "you are already a member.",
    "not_banned": "you are not banned.",
    "role_already": "you already have this role.",
    "too_many_devices": "you are in this room with too many devices. Send {start}exit from one first.",
    "too_many_rooms": "you cannot own more rooms. Delete one first: {start}destroy",
}
"""The same where the user is the sender, or the request names no user."""

OVER_LIMIT = {
    "too_many_messages": "You are sending messages too fast. Try again in {detail}.",
    "too_many_commands": "You are sending commands too fast. Try again in {detail}.",
    "too_many_deliveries": "You are sending to too many people. Try again in {detail}.",
    "too_many_invitations": "You are inviting too many people. Try again in {detail}.",
}
"""What a sender is told, once, when an edge accepts nothing more of it for so many seconds."""
TOO_MUCH_HISTORY = "You are asking for too many messages. Try again in {detail}."
"""The same where the request over the limit of deliveries is `#history`."""

WHY_FAILED = {"no_response": "did not respond", "delivery_failed": "could not receive it"}
_ROLES = {"owner": "an owner", "admin": "an admin", "member": "a plain member"}


def render(event: Event, settings: Settings, message_id: str = "") -> list[Text]:
    """The MESSAGEs that tell of an event, in order; several only for lists. `EntryError` if it is unknown.

    ``message_id`` is the Message-ID of a message that has to be wrapped for clients with CPIM.

    None for a work item of the edges.
    """
    if event.name == "message":
        return [relayed_message(event, settings, message_id)]
    if event.name == "typing":
        return [relayed_typing(event)]
    if event.name == IDLE:
        return [idle_notification(event)]
    if event.name == "disposition":
        return receipts_for_author(event)
    is_of_device = event.client == DEVICE_CLIENT
    if is_of_device:  # a notice speaks to the user
        event = replace(event, to=tuple(map(user_of, event.to)))
    notices = [NOTICE.encode() + body for body in _notices(event, settings)]
    # The response to a command in CPIM is CPIM, too, and whatever the client of a conference gets.
    if is_of_device or (essence(event.data.content_type) == CPIM and event.to == (event.actor,)):
        return [
            wrapped(event, f"<sip:{event.room}>", PLAIN, body, f"{message_id}-{number}")
            for number, body in enumerate(notices)
        ]
    return [Text(PLAIN, body) for body in notices]


def _notices(event: Event, settings: Settings) -> list[bytes]:
    if event.name == "notice":
        return [event.data.body]
    if event.name in NOTICES:
        return [_sentence(event, settings).encode()]
    if event.name == "refused":
        return [_refusal(event, settings).encode()]
    if event.name in _LISTS:
        return [page.encode() for page in _LISTS[event.name](event, settings)]
    if event.name == CATCH_UP or event.name in OF_CONFERENCES:
        return []
    raise EntryError(f"there is no text for event {event.name!r}")


def _sentence(event: Event, settings: Settings) -> str:
    template = _template(event)
    newcomer = {"joined": event.actor, "added": event.user}.get(event.name)
    if event.to == (newcomer,) and settings.history_max_messages and event.detail != "off":
        template += KEEPS_MESSAGES
    return template.format(
        actor=event.actor,
        user=event.user,
        role=_ROLES.get(event.role, event.role),
        detail=event.detail,
        text=event.text,
        why=WHY_FAILED.get(event.reason, WHY_FAILED["delivery_failed"]),
        start=settings.imc_cmd_start_char,
        keeps=_keeps(event.detail, settings) if event.name == "history_set" else "",
        announces="no longer announces" if event.detail == "off" else "announces",
    )


KEEPS_MESSAGES = " This room keeps what is said."
"""Follows what a new member is told, unless the room keeps nothing."""


def _keeps(wish: str, settings: Settings) -> str:
    """What `#set history` has changed: what is kept, perhaps less than asked for."""
    if wish == "join":
        return "new members see what is said after they have joined."
    if wish == "all":
        return "new members also see what was said before."
    if wish == "off":
        return "nothing. What was kept is deleted."
    kept = retention(settings, wish.encode())
    messages = "the last message" if kept.messages == 1 else f"the last {kept.messages} messages"
    return f"{messages}, for {_span(kept.seconds)}." if kept.seconds else f"{messages}."


def _span(seconds: float) -> str:
    """So many seconds, in the largest unit that gives a whole number, or nearly so."""
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = round(seconds / size)
        if seconds >= size and (seconds % size == 0 or seconds >= 10 * size):
            return f"{count} {unit}s" if count > 1 else f"{count} {unit}"
    return f"{math.ceil(seconds)} s"


def _template(event: Event) -> str:
    """The notice for these recipients: a user who is told alone is "you"."""
    if event.name == "nickname_set" and not event.detail:
        is_own = event.to == (event.actor,)
        return "You have no nickname in this room." if is_own else "{actor} has no nickname any more."
    if event.name == "skipped" and event.detail == "1":
        return _ONE_SKIPPED
    if event.role == "invited" and event.name in OF_INVITATIONS:
        return _OWN_WITHDRAWAL if event.to == (event.actor,) else OF_INVITATIONS[event.name]
    if event.name == "role_changed" and event.actor == event.user:
        return "You are now {role}." if event.to == (event.actor,) else "{actor} is now {role}."
    if event.to == (event.actor,):
        return TO_ACTOR.get(event.name) or NOTICES[event.name]
    if event.to == (event.user,):
        return TO_USER.get(event.name) or NOTICES[event.name]
    return NOTICES[event.name]


def _refusal(event: Event, settings: Settings) -> str:
    start, word = settings.imc_cmd_start_char, event.command
    command = BY_WORD.get(word)
    usage = command.usage(start) if command else f"{start}help"
    if event.reason == "unknown_command":
        return (
            f"{start}{word} is not a command. Send {start}help for a list of commands."
            f" To send a text that begins with {start}, write {start}{start}"
        )
    if event.reason == "usage":
        return f"Write it like this: {usage}"
    if event.reason == "no_room":
        if command is None:
            return f"This address accepts only commands. Send {start}help for a list of commands."
        return f"{start}{word} must name a room here. Write it like this: {usage.replace('[room]', 'room')}"
    if event.reason in OVER_LIMIT:
        is_history = event.reason == "too_many_deliveries" and word == "history"
        template = TOO_MUCH_HISTORY if is_history else OVER_LIMIT[event.reason]
        return template.format(detail=_duration(event.detail))
    if event.reason not in REASONS:
        raise EntryError(f"there is no text for reason {event.reason!r}")
    template = REASONS[event.reason]
    if event.user in ("", event.actor):
        template = ABOUT_YOURSELF.get(event.reason, template)
    sentence = template.format(user=event.user, detail=event.detail, usage=usage, start=start)
    return (f"{start}{word}: " if command else "Your message was not delivered: ") + sentence


def _duration(seconds: str) -> str:
    """So many seconds, in minutes where that is easier to read."""
    if not seconds.isdecimal() or int(seconds) < 120:
        return f"{seconds} s"
    return f"{-(-int(seconds) // 60)} min"


def _varying_headers(event: Event, settings: Settings) -> int:
    """Bytes of a delivery's headers that depend on the event: the recipient stands in Request-URI and To, the
    room in From, the request's Call-ID in In-Reply-To."""
    addresses = len(event.room) + 2 * max(map(len, event.to), default=0)
    return addresses + len(event.call_id) + sum(len(line.encode()) + 2 for line in settings.extra_hdrs)


def _members(event: Event, settings: Settings) -> list[str]:
    members = []
    for item in event.list.split():
        role, _, member = item.partition(":")
        address, _, nick = member.partition("|")
        if role in ROLES:
            shown = f"{nick} <{address}>" if nick else address
            # behind a space, where no address can put it
            members.append((RANKS[role], address, shown if role == "member" else f"{shown} ({role})"))
    return pages("Members", [line for _, _, line in sorted(members)], _varying_headers(event, settings))


def _bans(event: Event, settings: Settings) -> list[str]:
    if not event.list:
        return ["Nobody is banned from this room."]
    return pages("Banned", sorted(event.list.split()), _varying_headers(event, settings))


def _rooms(event: Event, settings: Settings) -> list[str]:
    lines = []
    for item in event.list.split():
        kind, _, room = item.partition(":")
        lines.append(f"{room} (private)" if kind == "private" else room)
    lines.sort()
    if event.more:
        lines.append(f"and {event.more} more")
    if not lines:
        return [f"There are no rooms yet. To create one, send {settings.imc_cmd_start_char}create room"]
    return pages("Rooms", lines, _varying_headers(event, settings))


def _help(event: Event, settings: Settings) -> list[str]:
    start = settings.imc_cmd_start_char
    lines = [f"{command.usage(start)} - {command.summary}" for command in COMMANDS]
    return pages("Commands", lines, _varying_headers(event, settings))


_LISTS = {"members": _members, "bans": _bans, "rooms": _rooms, "help": _help}
EVENTS = frozenset(
    {
        CATCH_UP,
        IDLE,
        *OF_CONFERENCES,
        "message",
        "typing",
        "disposition",
        "notice",
        "refused",
        *NOTICES,
        *_LISTS,
    }
)
"""Every event there is a text for."""
REFUSALS = frozenset({"unknown_command", "usage", "no_room", *REASONS, *OVER_LIMIT})
"""Every reason of a refusal there is a text for."""
