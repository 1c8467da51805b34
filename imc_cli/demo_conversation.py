"""The demo conversation: what each user sends, and exactly what each of them must receive."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from imc_common.rooms.texts import KEEPS_MESSAGES

USERS = ("alice", "bob", "carol", "dave")  # dave is never a member


@dataclass(frozen=True, slots=True)
class Exchange:
    """One MESSAGE to the room, and the messages that each user must receive: regular expressions, in order.

    ``{alice}``, ``{bob}``, … stand for the addresses of the users and ``{room}`` for that of the room. A
    user who is not in ``then`` must receive nothing.
    """

    who: str
    text: str
    then: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class PhoneOff(NamedTuple):
    """A user's phone is switched off while the others talk, and on again."""

    who: str
    before: tuple[Exchange, ...]
    missed: tuple[Exchange, ...]
    received: tuple[str, ...]
    """What the user must receive when the phone is on again: patterns, in order."""
    after: tuple[Exchange, ...]


KEEPS: Final = KEEPS_MESSAGES.strip()
"""New members read this if the service keeps messages for members who are away. Else nobody is away."""

_INVITATION = (r"\*\*\* {alice} invites you to this room\. .*#accept.*#deny.*",)

BEGINNING = (
    Exchange("alice", "#create private", {"alice": (r"\*\*\* You have created this private room\. .*",)}),
    Exchange(
        "bob",
        "#join",
        # to who has no business there, a private room is not there
        {"bob": (r"\*\*\* .*this room does not exist\. .*",), "alice": (r"\*\*\* {bob} wants to join.*",)},
    ),
    Exchange(
        "alice", "#invite sip:{bob}", {"bob": _INVITATION, "alice": (r"\*\*\* You have invited {bob}\.",)}
    ),
    Exchange(
        "alice",
        "#invite sip:{carol}",
        {"carol": _INVITATION, "alice": (r"\*\*\* You have invited {carol}\.",)},
    ),
    Exchange(
        "bob",
        "#accept",
        {"alice": (r"\*\*\* {bob} has joined\.",), "bob": (r"\*\*\* You have joined this room\. .*",)},
    ),
    Exchange(
        "carol",
        "#deny",
        {
            "alice": (r"\*\*\* {carol} has declined the invitation\.",),
            "carol": (r"\*\*\* You have declined the invitation\.",),
        },
    ),
    Exchange(
        "alice", "Hello Bob, the room is ours.", {"bob": (r"<{alice}>: Hello Bob, the room is ours\.",)}
    ),
    Exchange("bob", "Hi Alice!", {"alice": (r"<{bob}>: Hi Alice!",)}),
    Exchange("bob", "#list", {"bob": (r"\*\*\* Members:\n{alice} \(owner\)\n{bob}",)}),
    Exchange("dave", "Let me in", {"dave": (r"\*\*\* Your message was not delivered: .*",)}),
    Exchange(
        "alice",
        "#modify sip:{bob} admin",
        {
            "alice": (r"\*\*\* You have made {bob} an admin\.",),
            "bob": (r"\*\*\* {alice} has made you an admin\.",),
        },
    ),
)

PHONE_OFF = PhoneOff(
    "carol",
    (
        Exchange(
            "bob",
            "#add sip:{carol}",
            {
                "alice": (r"\*\*\* {bob} has added {carol}\.",),
                "bob": (r"\*\*\* You have added {carol}\.",),
                "carol": (r"\*\*\* {bob} has added you to this room\. .*",),
            },
        ),
    ),
    (
        Exchange("alice", "Lunch at one?", {"bob": (r"<{alice}>: Lunch at one\?",)}),
        Exchange("bob", "Yes. At Luigi's.", {"alice": (r"<{bob}>: Yes\. At Luigi's\.",)}),
    ),
    (r"<{alice}>: Lunch at one\?", r"<{bob}>: Yes\. At Luigi's\."),
    (
        Exchange(
            "carol",
            "I am in!",
            {"alice": (r"<{carol}>: I am in!",), "bob": (r"<{carol}>: I am in!",)},
        ),
        Exchange(
            "carol",
            "#exit",
            {
                "alice": (r"\*\*\* {carol} has left\.",),
                "bob": (r"\*\*\* {carol} has left\.",),
                "carol": (r"\*\*\* You have left this room\.",),
            },
        ),
    ),
)

END = (
    Exchange(
        "bob",
        "#exit",
        {"alice": (r"\*\*\* {bob} has left\.",), "bob": (r"\*\*\* You have left this room\.",)},
    ),
    Exchange("alice", "#destroy", {"alice": (r"\*\*\* You have deleted this room\.",)}),
)

CONVERSATION = (*BEGINNING, *END)
"""All steps that need nobody to be away."""


def filled(text: str, names: Mapping[str, str]) -> str:
    """A text with its placeholders replaced."""
    for name, value in names.items():
        text = text.replace("{" + name + "}", value)
    return text


def matches(pattern: str, names: Mapping[str, str], text: str) -> bool:
    """Whether a received text matches the pattern of a step."""
    escaped = {name: re.escape(value) for name, value in names.items()}
    return re.fullmatch(filled(pattern, escaped), text) is not None
