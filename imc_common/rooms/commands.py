"""The commands of a chat room, and how the body of a MESSAGE is read.

`COMMANDS` is the one table of them: parser, help and the page ``docs/commands.md`` follow it. The parser is
pure. What it finds wrong becomes a request of type ``refused`` with one of these reasons, which the sender
is told in a notice:

==================  =========================================================================================
`unknown_command`   the word after the start character is no command
`usage`             arguments missing, too many, or a word that is none of those to choose from
`bad_argument`      an argument is no address, or has a line break, NUL or the like; `detail` shows it
`bad_text`          a text is too long or has control characters; `detail` is its maximum length
`foreign_domain`    a room in a domain not served here (`domains`); `detail` is the room
`bad_room`          a room whose user part does not fit `room_pattern`; `detail` is the room
`no_room`           a message to the command address (`manager`), or a command that names no other room
`not_a_user`        the user named is the command address; `detail` is the address
`bad_name`          a nickname that could mislead others; `detail` shows it
`command_type`      a command in a body of a type in which commands are not read
==================  =========================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, final
from unicodedata import category

from imc_common import address
from imc_common.escape import printable
from imc_common.rooms import spans
from imc_common.rooms.names import nickname
from imc_common.rooms.roles import CHOICE, ROLES
from imc_common.rooms.room_rules import RoomRules
from imc_common.settings import Settings

REASONS = (
    "unknown_command",
    "usage",
    "bad_argument",
    "bad_text",
    "foreign_domain",
    "bad_room",
    "no_room",
    "not_a_user",
    "bad_name",
    "command_type",
)

MAX_TEXT = 200
"""Characters of the argument ``[text]``, at most: a notice with it fits one MESSAGE over UDP."""

_JOINERS = {ord("\u200c"): None, ord("\u200d"): None}
"""Zero width non-joiner and joiner: invisible, but some scripts and emoji need them."""
_LINE = re.compile(rb"[^\n]*")
_BLANKS = re.compile(
    rb"(?>(?:[ \t\r\n\f\v]|\xef\xbb\xbf|\xc2\xa0|\xe2\x80[\x80-\x8b\x8e\x8f]|\xe2\x81\xa0|\xe3\x80\x80)*)"
)
"""Blanks, line ends and a byte order mark, as clients and keyboards put them before a text."""
_BEGINS_BLANK = frozenset((b"", b" ", b"\t", b"\r", b"\n", b"\f", b"\v", b"\xc2", b"\xe2", b"\xe3", b"\xef"))
"""First bytes of `_BLANKS`, and of no body: all other bodies need no look at them."""
_SPACE = re.compile(r"[ \t]+")


SPAN, WISH = "[20/2h/since 2026-11-28/more]", "off/messages/days/join/all"
"""Arguments that `imc_common.rooms.spans` reads."""

FLAGS = ("private", "confirm")
"""Words that may come last, where a command has them among its arguments."""


class RoomCommand(NamedTuple):
    """One command: its name (the type of its request), further names, arguments in order, and what it does.

    Required arguments are ``user``, ``role`` and words to choose from (``on/off``). Those in brackets may be
    left out: ``[name]``, ``[room]``, ``[text]``, which is the last one and all that remains of the line, and
    `FLAGS`, which come last. `script` is the Lua script that carries it out; empty for a command that
    concerns no single room.
    """

    name: str
    aliases: tuple[str, ...]
    arguments: tuple[str, ...]
    summary: str
    script: str = ""

    def usage(self, start_char: str) -> str:
        """The command as a person types it: ``#invite user [room]``."""
        return start_char + " ".join((self.name, *self.arguments))


COMMANDS = (
    RoomCommand("create", (), ("[room]", "[private]"), "create a room", "create_room"),
    RoomCommand("join", (), ("[room]",), "join a room", "join_room"),
    RoomCommand("invite", (), ("user", "[room]"), "invite a user", "invite_member"),
    RoomCommand("accept", (), ("[room]",), "accept an invitation", "accept_invitation"),
    RoomCommand("deny", ("reject",), ("[room]",), "decline an invitation", "deny_invitation"),
    RoomCommand("remove", (), ("user", "[room]"), "remove a user", "remove_member"),
    RoomCommand("add", (), ("user", "[room]"), "add a user without an invitation", "add_member"),
    RoomCommand("modify", (), ("user", "role", "[room]"), f"change a role: {CHOICE}", "modify_member"),
    RoomCommand("ban", (), ("user", "[room]"), "remove a user and keep them out", "ban_user"),
    RoomCommand("unban", (), ("user", "[room]"), "lift a ban", "unban_user"),
    RoomCommand("bans", (), ("[room]",), "list the banned users", "list_bans"),
    RoomCommand("nick", (), ("[name]", "[room]"), "take a nickname, or none", "set_nickname"),
    RoomCommand("topic", (), ("[text]",), "show or set the topic", "set_topic"),
    RoomCommand("history", (), (SPAN,), "show what was said", "request_history"),
    RoomCommand("set", (), ("history", WISH, "[room]"), "say what the room keeps", "set_history"),
    RoomCommand("announce", (), ("on/off", "[room]"), "show or hide joins and leaves", "set_announce"),
    RoomCommand("open", (), ("[room]",), "show the room as a group chat in Linphone", "open_room"),
    RoomCommand("exit", ("leave",), ("[room]", "[confirm]"), "leave a room", "exit_room"),
    RoomCommand("destroy", (), ("[room]",), "delete a room for everybody", "destroy_room"),
    RoomCommand("list", ("members",), ("[room]",), "list the members", "list_members"),
    RoomCommand("rooms", (), (), "list the rooms"),
    RoomCommand("help", (), (), "list the commands"),
)

BY_WORD = {word: command for command in COMMANDS for word in (command.name, *command.aliases)}


@final
@dataclass(init=False, slots=True)
class Parsed:
    """What a body asks for: the fields of a `RoomRequest` that come from it. `room` decides the shard.

    `text` is what only the command's script reads: a word to choose from, or words of the user.
    """

    type: Final[str]
    room: Final[str]
    user: Final[str]
    role: Final[str]
    private: Final[bool]
    reason: Final[str]
    command: Final[str]
    detail: Final[str]
    text: Final[str]
    body: Final[bytes | None]
    """The text to send instead of the body, where the two differ."""

    def __init__(
        self,
        type: str,  # noqa: A002 # named as the field
        room: str,
        *,
        user: str = "",
        role: str = "",
        private: bool = False,
        reason: str = "",
        command: str = "",
        detail: str = "",
        text: str = "",
        body: bytes | None = None,
    ) -> None:
        self.type = type
        self.room = room
        self.user = user
        self.role = role
        self.private = private
        self.reason = reason
        self.command = command
        self.detail = detail
        self.text = text
        self.body = body


class _RefusedError(Exception):
    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        self.detail = printable(detail, 100)


class CommandParser:
    """Reads bodies under one set of settings. `to` is always the canonical address of the request."""

    def __init__(self, settings: Settings) -> None:
        self._rules = RoomRules(settings)
        self._start = settings.imc_cmd_start_char.encode()
        self._ignores_case = not settings.case_sensitive_users

    def parse(self, body: bytes, to: str) -> Parsed:
        """A text body: a command, a message, or ``nothing`` if it is blank. Never raises.

        A command begins with the start character and a letter; blanks before it do not count. Two start
        characters begin a message, which is sent without the first. All other bodies are messages, also
        ``#1``: no command is written like that.
        """
        if not body.startswith(self._start):
            if body[:1] not in _BEGINS_BLANK:
                return self.message(to)
            body = _without_blanks(body)
            if not body:
                return Parsed("nothing", to)
            if not body.startswith(self._start):
                return self.message(to)
        text = body[len(self._start) :]
        if text.startswith(self._start):
            return replace(self.message(to), body=text)
        if not text[:1].isalpha() and not _names_command(text):
            return self.message(to)
        return self._command(_first_line(text).rstrip(" \t"), to)

    def message(self, to: str) -> Parsed:
        """A body that cannot be a command, whatever it begins with."""
        if self._rules.is_command_address(to):
            return Parsed("refused", to, reason="no_room", command="message")
        return Parsed("message", to)

    def unread(self, body: bytes, to: str) -> Parsed:
        """A body of a type in which commands are not read: a message, unless it begins like a command."""
        text = _without_blanks(body)
        if text.startswith(self._start) and _names_command(text[len(self._start) :]):
            word = _SPACE.split(_first_line(text)[len(self._start) :].lstrip(" \t"))[0]
            return Parsed("refused", to, reason="command_type", command=word.lower())
        return self.message(to)

    def _command(self, line: str, to: str) -> Parsed:
        """The command in a line without its start character."""
        word, *arguments = _SPACE.split(line)
        command = BY_WORD.get(word.lower())
        if command is not None and "[text]" in command.arguments:
            arguments = _SPACE.split(line, maxsplit=len(command.arguments))[1:]
        if command is None:
            return Parsed("refused", to, reason="unknown_command", command=printable(word, 32))
        try:
            return self._read(command, arguments, to)
        except _RefusedError as refused:
            return Parsed("refused", to, reason=refused.reason, command=word.lower(), detail=refused.detail)

    def _read(self, command: RoomCommand, arguments: list[str], to: str) -> Parsed:
        user = role = room = text = flag = ""
        rest = list(arguments)
        if rest and rest[-1].lower() in FLAGS and f"[{rest[-1].lower()}]" in command.arguments:
            flag = rest.pop().lower()
        for argument in command.arguments:
            if argument == "user":
                user = self._user(_next(rest), to)
            elif argument == "role":
                role = _choice(_next(rest), ROLES)
            elif argument == "[room]":
                room = self._room(rest.pop(0) if rest else "", to)
            else:
                text = _words(argument, rest) or text
        if rest:
            raise _RefusedError("usage")
        if command.script and not room:  # it takes no room: it concerns the one in To
            room = self._room("", to)
        confirmed = "confirm" if flag == "confirm" else ""
        return Parsed(
            command.name,
            room or to,
            user=user,
            role=role,
            private=flag == "private",
            text=text or confirmed,
        )

    def _user(self, text: str, to: str) -> str:
        user = self._address(text, to)
        if self._rules.is_command_address(user):
            raise _RefusedError("not_a_user", user)
        return user

    def _room(self, text: str, to: str) -> str:
        room = self._address(text, to) if text else to
        if self._rules.is_command_address(room):
            raise _RefusedError("no_room")
        if not self._rules.serves(room):
            raise _RefusedError("foreign_domain", room)
        if not self._rules.fits_pattern(room):
            raise _RefusedError("bad_room", room)
        return room

    def _address(self, text: str, to: str) -> str:
        found = _address(text, to)
        return address.without_case(found) if self._ignores_case else found


def _without_blanks(body: bytes) -> bytes:
    """The body without the blanks that it begins with."""
    blanks = _BLANKS.match(body)
    return body[blanks.end() :] if blanks else body


def _names_command(text: bytes) -> bool:
    """Whether the first word is one of a command: ``# exit`` is hardly meant for everybody."""
    return _SPACE.split(_first_line(text).strip(" \t"))[0].lower() in BY_WORD


def _first_line(body: bytes) -> str:
    """The body's first line; what follows it is no part of a command. Bytes that are no UTF-8 stay visible
    as escapes, which no argument accepts."""
    line = _LINE.match(body)
    assert line is not None  # noqa: S101 # the pattern matches the empty text, too
    return line[0].removesuffix(b"\r").decode("utf-8", "backslashreplace")


def _next(arguments: list[str]) -> str:
    if not arguments:
        raise _RefusedError("usage")
    return arguments.pop(0)


def _words(argument: str, rest: list[str]) -> str:
    """What only the script reads, taken from the rest of the line; empty for an argument that has no such."""
    if argument == "[text]":
        return _text(rest.pop(0) if rest else "")
    if argument == "[name]":
        return _nickname(rest.pop(0)) if rest else ""
    if argument == "history":
        _choice(_next(rest), (argument,))
        return ""
    if argument == SPAN:
        words = rest.copy()
        rest.clear()
        return _known(spans.span(words))
    if argument == WISH:
        return _known(spans.wish(_next(rest)))
    return _choice(_next(rest), argument.split("/")) if "/" in argument else ""


def _known(text: str | None) -> str:
    if text is None:
        raise _RefusedError("usage")
    return text


def _nickname(text: str) -> str:
    name = nickname(text)
    if not name:
        raise _RefusedError("bad_name", text)
    return name


def _choice(text: str, words: Sequence[str]) -> str:
    word = text.lower()
    if word not in words:
        raise _RefusedError("usage")
    return word


def topic_of(text: str) -> str | None:
    """Words that other users read in a notice: in any language, but nothing that controls what they see.

    None for what is too long (`MAX_TEXT`) or has such characters. Every kind of blank becomes a space.
    """
    clean = "".join([" " if char == "\t" or category(char) == "Zs" else char for char in text])
    return clean if len(clean) <= MAX_TEXT and clean.translate(_JOINERS).isprintable() else None


def _text(text: str) -> str:
    topic = topic_of(text)
    if topic is None:
        raise _RefusedError("bad_text", str(MAX_TEXT))
    return topic


def _address(text: str, to: str) -> str:
    """An argument as an address: a URI, ``user@host``, or a user part in the host of To."""
    if len(text) > 2 and text[0] == "<" and text[-1] == ">":  # as notices and clients show addresses
        text = text[1:-1]
    try:
        if "@" in text:
            return address.parse(text)
        return f"{address.parse_user(text)}@{address.split(to)[1]}"
    except address.AddressError as error:
        raise _RefusedError("bad_argument", text) from error
