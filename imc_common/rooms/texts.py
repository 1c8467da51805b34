"""What a person reads: every event of a room as the body of a MESSAGE. All wording of the service is here.

Notices start with ``*** ``, so that nobody takes them for what a member wrote. Everything that goes into one
is printable ASCII by construction: addresses are canonical, words from outside went through `printable`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from imc_common.address import split
from imc_common.rooms.commands import BY_WORD, COMMANDS
from imc_common.rooms.event import Event
from imc_common.rooms.pages import pages
from imc_common.rooms.request import EntryError
from imc_common.settings import Settings

NOTICE = "*** "
PLAIN = "text/plain"
QUIET_TYPES = frozenset({"application/im-iscomposing+xml", "message/imdn+xml"})
"""Typing notifications (RFC 3994) and receipts (RFC 5438): programs send them, and nobody waits for a word on
what became of them."""

NOTICES = {
    "created": "You have made the {detail} room {room}.",
    "joined": "{actor} has joined {room}.",
    "already_member": "You are a member of {room} already.",
    "join_refused": "{actor} tried to join {room}, which is private, and was refused."
    " To ask them in: {start}invite {actor}",
    "invited": "{actor} invites you to {room}. Answer {start}accept to join, or {start}deny to decline.",
    "invitation_failed": "Your invitation of {user} to {room} is withdrawn: {why}.",
    "denied": "{actor} has declined the invitation to {room}.",
    "you_were_removed": "You have been removed from {room} by {actor}.",
    "removed": "{user} has been removed from {room} by {actor}.",
    "added": "{user} has been added to {room} by {actor}.",
    "role_changed": "{user} has been made {role} of {room} by {actor}.",
    "left": "{actor} has left {room}.",
    "dropped": "{user} has been removed from {room}: messages to this address fail ({detail}).",
    "destroyed": "The room {room} has been destroyed by {actor}.",
}
"""Events that are one sentence. `message`, `refused`, `members`, `rooms` and `help` are made by functions."""

OF_INVITATIONS = {
    "you_were_removed": "Your invitation to {room} has been withdrawn by {actor}.",
    "removed": "The invitation of {user} to {room} has been withdrawn by {actor}.",
}
"""The same for somebody who was invited only."""

REASONS = {
    "unknown_room": "there is no room {room}.",
    "not_member": "you are not a member of {room}.",
    "admins_only": "only owners and admins of {room} may do this.",
    "owner_only": "only an owner of {room} may do this.",
    "not_invited": "you are not invited to {room}.",
    "user_is_member": "{user} is a member of {room} already.",
    "user_is_invited": "{user} is invited to {room} already and has not answered yet.",
    "not_in_room": "{user} is not in {room}.",
    "is_owner": "{user} is an owner of {room} and cannot be removed.",
    "last_owner": "{room} would have no owner left. Make somebody else owner first, or destroy the room.",
    "role_already": "{user} has this role in {room} already.",
    "bad_role": "a role is one of owner, admin, member.",
    "room_exists": "there is a room {room} already.",
    "room_full": "{room} is full.",
    "too_many_rooms": "{whose} as many rooms as one user may.",
    "is_room": "the room {room} cannot be a user of itself.",
    "bad_argument": "{detail} is no address. Usage: {usage}",
    "foreign_domain": "rooms of another domain are not served here: {detail}",
    "bad_room": "a room here cannot have this name: {detail}",
    "not_a_user": "this is no user's address: {detail}",
}
"""Why a command or message was refused; `unknown_command`, `usage` and `no_room` have a form of their own."""

OVER_LIMIT = {
    "too_many_messages": "you write more than one user may. What you send in the next {detail} s is refused.",
    "too_many_commands": "you send more commands than one user may. In the next {detail} s they are refused.",
    "too_many_deliveries": "you write to more people than one user may. Wait {detail} s before the next.",
    "too_many_invitations": "you invite more people than one user may. Try again in {detail} s.",
}
"""What a sender is told, once, when an edge takes no more of it for so many seconds."""

WHY_FAILED = {
    "no_answer": "there was no answer",
    "delivery_failed": "it could not be delivered ({detail})",
}
_ROLES = {"owner": "owner", "admin": "admin", "member": "plain member"}
_RANKS = {"owner": (0, "*"), "admin": (1, "~"), "member": (2, "")}


class Text(NamedTuple):
    """The body of one MESSAGE."""

    content_type: str
    body: bytes


def render(event: Event, settings: Settings) -> list[Text]:
    """The MESSAGEs that tell of an event, in order; several only for lists. `EntryError` if it is unknown.

    None for the refusal of what no person has written: a typing notification or a receipt.
    """
    if event.name == "message":
        return [_message(event, settings)]
    if event.name == "notice":
        return [Text(PLAIN, NOTICE.encode() + event.data.body)]
    if event.name in NOTICES:
        return [_notice(_sentence(event, settings))]
    if event.name == "refused":
        if event.data.content_type.partition(";")[0].strip().lower() in QUIET_TYPES:
            return []
        return [_notice(_refusal(event, settings))]
    if event.name in _LISTS:
        return [_notice(page) for page in _LISTS[event.name](event, settings)]
    raise EntryError(f"there is no text for event {event.name!r}")


def _notice(text: str) -> Text:
    return Text(PLAIN, (NOTICE + text).encode())


def _message(event: Event, settings: Settings) -> Text:
    content_type, body = event.data.content_type, event.data.body
    if not settings.sender_prefix:
        return Text(content_type, body)
    charset = _prefix_charset(content_type)
    if charset is None:
        return Text(content_type, body)
    return Text(content_type, _prefix(settings.sender_prefix, event.actor, charset) + body)


def _prefix(template: str, actor: str, charset: str) -> bytes:
    user, host = split(actor)
    return template.format(user=user, host=host).encode(charset, "replace")


@lru_cache(maxsize=256)
def _prefix_charset(content_type: str) -> str | None:
    """The charset a prefix is to be written in; None where it has no place: other types than text/plain,
    and charsets (UTF-16 and the like) in which text cannot just be put in front."""
    media_type, *parameters = content_type.lower().split(";")
    if media_type.strip() != PLAIN:
        return None
    values = (parameter.partition("=") for parameter in parameters)
    charset = next((value.strip(' "\t') for name, _, value in values if name.strip() == "charset"), "utf-8")
    try:
        return charset if "<:>".encode(charset) == b"<:>" else None
    except (LookupError, ValueError):
        return "utf-8"  # we do not know it; nearly all charsets write ASCII as ASCII


def _sentence(event: Event, settings: Settings) -> str:
    template = NOTICES[event.name]
    if event.role == "invited":
        template = OF_INVITATIONS.get(event.name, template)
    why = WHY_FAILED.get(event.reason, WHY_FAILED["delivery_failed"]).format(detail=event.detail)
    return template.format(
        actor=event.actor,
        user=event.user,
        room=event.room,
        role=_ROLES.get(event.role, event.role),
        detail=event.detail,
        why=why,
        start=settings.imc_cmd_start_char,
    )


def _refusal(event: Event, settings: Settings) -> str:
    start, word = settings.imc_cmd_start_char, event.command
    command = BY_WORD.get(word)
    usage = command.usage(start) if command else f"{start}help"
    if event.reason == "unknown_command":
        return f"{start}{word} is not a command. Send {start}help for a list of commands."
    if event.reason == "usage":
        return f"Usage: {usage}"
    if event.reason == "no_room":
        if command is None:
            return (
                f"This address has no room, it takes commands only. Send {start}help for a list of commands."
            )
        return f"{start}{word}: name a room. Usage: {usage}"
    template = REASONS.get(event.reason) or OVER_LIMIT.get(event.reason)
    if template is None:
        raise EntryError(f"there is no text for reason {event.reason!r}")
    sentence = template.format(
        room=event.room,
        user=event.user,
        detail=event.detail,
        usage=usage,
        whose=f"{event.user} owns" if event.user else "you own",
    )
    return (f"{start}{word}: " if command else "Your message was not delivered: ") + sentence


def _members(event: Event, settings: Settings) -> list[str]:
    members = []
    for item in event.list.split():
        role, _, member = item.partition(":")
        rank, mark = _RANKS.get(role, (3, ""))
        if rank < 3:
            members.append((rank, member, mark + member))
    return pages(f"Members of {event.room}", [line for _, _, line in sorted(members)], settings.extra_hdrs)


def _rooms(event: Event, settings: Settings) -> list[str]:
    lines = []
    for item in event.list.split():
        kind, _, room = item.partition(":")
        lines.append(f"{room} (private)" if kind == "private" else room)
    lines.sort()
    if event.more:
        lines.append(f"and {event.more} more")
    return pages("Rooms", lines or ["none"], settings.extra_hdrs)


def _help(_event: Event, settings: Settings) -> list[str]:
    start = settings.imc_cmd_start_char
    lines = [f"{command.usage(start)} - {command.summary}" for command in COMMANDS]
    return pages("Commands", lines, settings.extra_hdrs)


_LISTS = {"members": _members, "rooms": _rooms, "help": _help}
EVENTS = frozenset({"message", "notice", "refused", *NOTICES, *_LISTS})
"""Every event there is a text for."""
REFUSALS = frozenset({"unknown_command", "usage", "no_room", *REASONS, *OVER_LIMIT})
"""Every reason of a refusal there is a text for."""
