"""MESSAGEs as real clients send them: one file each in ``clients/``, written by hand from documented traits.

A file begins with comment lines, then the message follows in the notation of RFC 4475 §2. The comments are:

- ``Client`` and ``Traits``: what sends such a message, and what is special about it. ``Source``: where this
is documented; without one, the traits are those generally known of the client. - ``Sender``: the address by
which the room has to know the sender. - ``Expected``: the status, and for a 202 what has to happen in the
room. ``message "TEXT"``: the other members get a delivery that contains this text. ``command join``: the
sender joins. ``nothing``: no delivery. - ``Fails today``: what is wrong, and where: ``edge`` (the status) or
``room`` (what happens there). The tests are then strict xfails, so whoever puts it right has to delete this
line.

``room-0000`` in a message stands for a room; tests replace it by another name of the same length.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.notation import expand

FOLDER = Path(__file__).parent / "clients"
ROOM = "room-0000@example.org"
_COMMENTS = re.compile(r"(?:#.*\n)+")
_FIELD = re.compile(r"^# (Client|Sender|Expected|Fails today): (.*)$", re.MULTILINE)
_EXPECTED = re.compile(r"(\d{3})(?:, (nothing|command join|message \"(.*)\"))?")


@dataclass(frozen=True)
class ClientMessage:
    """One file of the corpus."""

    name: str
    client: str
    sender: str
    expected: str
    """The status and the outcome in words."""
    status: int
    outcome: str
    """``message``, ``command join`` or ``nothing``."""
    text: str
    """The text of a message."""
    fault: str
    """Where something is wrong today, ``edge`` or ``room``; empty if nothing is."""
    why: str
    data: bytes

    def __str__(self) -> str:
        return self.name

    def in_room(self, room: str) -> bytes:
        """The message to another room, whose name has the length of `ROOM`."""
        assert len(room) == len(ROOM)
        return self.data.replace(ROOM.partition("@")[0].encode(), room.partition("@")[0].encode())


def load(path: Path) -> ClientMessage:
    """Read one file. Raises AssertionError if its comments are incomplete."""
    content = path.read_text(encoding="utf-8")
    comments = _COMMENTS.match(content)
    assert comments is not None, path
    fields = dict(_FIELD.findall(comments[0]))
    assert {"Client", "Sender", "Expected"} <= fields.keys(), path
    assert "# Traits: " in comments[0], path
    expected = _EXPECTED.fullmatch(fields["Expected"])
    assert expected is not None, path
    fault, _, why = fields.get("Fails today", "").partition(": ")
    assert fault in {"", "edge", "room"}, path
    return ClientMessage(
        name=path.stem,
        client=fields["Client"],
        sender=fields["Sender"],
        expected=fields["Expected"],
        status=int(expected[1]),
        outcome="message" if expected[3] else expected[2] or "nothing",
        text=expected[3] or "",
        fault=fault,
        why=why,
        data=expand(content[comments.end() :].removesuffix("\n")),
    )


CLIENTS = [load(path) for path in sorted(FOLDER.glob("*.txt"))]
