"""The commands of a chat room, and how the body of a MESSAGE is read.

`COMMANDS` is the one table of them: parser, help and the page ``docs/commands.md`` follow it. The parser is
pure. What it finds wrong becomes a request of type ``refused`` with one of these reasons, which the sender
is told in a notice:

==================  =========================================================================================
`unknown_command`   the word after the start character is no command
`usage`             arguments missing, too many, or a word that is none of those to choose from
`bad_argument`      an argument is no address, or has a line break, NUL, quote or the like; `detail` shows it
`bad_text`          a text is too long or has control characters; `detail` is its maximum length
`foreign_domain`    a room in a domain not served here (`domains`); `detail` is the room
`bad_room`          a room whose user part does not fit `room_pattern`; `detail` is the room
`no_room`           a message to the command address (`manager`), or a command that names no other room
`not_a_user`        the user named is the command address; `detail` is the address
`bad_name`          a nickname that could mislead others; `detail` shows it
==================  =========================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from imc_common import address
from imc_common.escape import printable
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
)

MAX_TEXT = 200
"""Characters of the argument ``[text]``, at most: a notice with it fits one MESSAGE over UDP."""

_JOINERS = {ord("\u200c"): None, ord("\u200d"): None}
"""Zero width non-joiner and joiner: invisible, but some scripts and emoji need them."""
_LINE = re.compile(rb"[^\n]*")
_SPACE = re.compile(r"[ \t]+")


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
    RoomCommand("announce", (), ("on/off", "[room]"), "show or hide joins and leaves", "set_announce"),
    RoomCommand("exit", ("leave",), ("[room]", "[confirm]"), "leave a room", "exit_room"),
    RoomCommand("destroy", (), ("[room]",), "delete a room for everybody", "destroy_room"),
    RoomCommand("list", ("members",), ("[room]",), "list the members", "list_members"),
    RoomCommand("rooms", (), (), "list the rooms"),
    RoomCommand("help", (), (), "list the commands"),
)

BY_WORD = {word: command for command in COMMANDS for word in (command.name, *command.aliases)}


class Parsed(NamedTuple):
    """What a body asks for: the fields of a `RoomRequest` that come from it. `room` decides the shard.

    `text` is what only the command's script reads: a word to choose from, or words of the user.
    """

    type: str
    room: str
    user: str = ""
    role: str = ""
    private: bool = False
    reason: str = ""
    command: str = ""
    detail: str = ""
    text: str = ""


class _RefusedError(Exception):
    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        self.detail = printable(detail, 100)


class CommandParser:
    """Reads bodies under one set of settings. `to` is always the canonical address of the To header."""

    def __init__(self, settings: Settings) -> None:
        self._rules = RoomRules(settings)
        self._start = settings.imc_cmd_start_char.encode()

    def parse(self, body: bytes, to: str) -> Parsed:
        """A text body: a command if it begins with the start character, else a message. Never raises."""
        if not body.startswith(self._start):
            return self.message(to)
        line = _first_line(body)[len(self._start) :]
        word, *arguments = _SPACE.split(line.rstrip(" \t"))
        command = BY_WORD.get(word.lower())
        if command is not None and "[text]" in command.arguments:
            arguments = _SPACE.split(line.rstrip(" \t"), maxsplit=len(command.arguments))[1:]
        if command is None:
            return Parsed("refused", to, reason="unknown_command", command=printable(word, 32))
        try:
            return self._read(command, arguments, to)
        except _RefusedError as refused:
            return Parsed("refused", to, reason=refused.reason, command=word.lower(), detail=refused.detail)

    def message(self, to: str) -> Parsed:
        """A body that cannot be a command, whatever it begins with: of any type but text/plain."""
        if self._rules.is_command_address(to):
            return Parsed("refused", to, reason="no_room", command="message")
        return Parsed("message", to)

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
            elif argument == "[text]":
                text = _text(rest.pop(0) if rest else "")
            elif argument == "[name]" and rest:
                text = _nickname(rest.pop(0))
            elif "/" in argument:
                text = _choice(_next(rest), argument.split("/"))
        if rest:
            raise _RefusedError("usage")
        if command.script and not room:  # it takes no room: it concerns the one in To
            room = self._room("", to)
        confirmed = "confirm" if flag == "confirm" else ""
        return Parsed(command.name, room or to, user, role, flag == "private", text=text or confirmed)

    def _user(self, text: str, to: str) -> str:
        user = _address(text, to)
        if self._rules.is_command_address(user):
            raise _RefusedError("not_a_user", user)
        return user

    def _room(self, text: str, to: str) -> str:
        room = _address(text, to) if text else to
        if self._rules.is_command_address(room):
            raise _RefusedError("no_room")
        if not self._rules.serves(room):
            raise _RefusedError("foreign_domain", room)
        if not self._rules.fits_pattern(room):
            raise _RefusedError("bad_room", room)
        return room


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


def _text(text: str) -> str:
    """Words that other users read in a notice: in any language, but nothing that controls what they see."""
    text = text.replace("\t", " ")
    if len(text) > MAX_TEXT or not text.translate(_JOINERS).isprintable():
        raise _RefusedError("bad_text", str(MAX_TEXT))
    return text


def _address(text: str, to: str) -> str:
    """An argument as an address: a URI, ``user@host``, or a user part in the host of To."""
    if "'" in text:  # legal in a URI, but nobody's name; other quotes no address takes anyway
        raise _RefusedError("bad_argument", text)
    try:
        if "@" in text:
            return address.parse(text)
        return f"{address.parse_user(text)}@{address.split(to)[1]}"
    except address.AddressError as error:
        raise _RefusedError("bad_argument", text) from error
