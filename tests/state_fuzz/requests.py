"""Random requests: what is asked, and one of the many ways to write it.

Each comes from a number that Hypothesis draws. Its strategies would repeat what they drew before, and seldom
do one thing to a user and the next thing as that user. So a failure is shrunk to fewer steps, not to simpler
ones.
"""

from __future__ import annotations

from random import Random
from typing import Any, NamedTuple

from imc_common.rooms.commands import BY_WORD, COMMANDS
from tests.state_fuzz.faults import Fault, Kind
from tests.state_fuzz.room import Ask

USERS = {
    "alice@example.org": ("alice@EXAMPLE.org", "alice@example.org:5071", "%61lice@example.org"),
    "bob@example.org": ("bob@example.org.",),
    "Bob@example.org": ("Bob@example.org:5060",),
    "carol@192.0.2.1:5071": (),
    "carol@192.0.2.1:5072": ("%63arol@192.0.2.1:5072",),
    "carol@192.0.2.1": (),
    "dave@[2001:db8::1]:5060": ("dave@[2001:DB8:0::1]:5060",),
}
"""Each user, as everybody is to see it, and further ways to write it."""
ROOMS = {
    "chat@example.org": ("chat@example.org:5070",),
    "Chat@example.org": (),
    "bob@192.0.2.9:5060": (),
}
"""The rooms, likewise."""
MANAGER = "chat-manager@example.org"
NICKNAMES = ("Al", "al", "bob", "Zoë", "carol", "")
TOPICS = ("Lunch", "Today: free seats", "off", "")
ROLES = ("owner", "admin", "member")
SEATS = ("", "", "owner", "owner", "admin", "member", "invited")
"""The role of who asks; empty: anybody."""
RESPONSES = ("join", "join", "accept", "exit", "message", "create", "deny", "list")
"""What a user does about whom another did something."""
OUTCOMES = ("404", "408", "410", "486", "503")

_ABOUT_USERS = ("invite", "add", "remove", "ban", "unban")
_ABOUT_ROOMS = ("create", "join", "accept", "deny", "exit", "destroy", "list", "bans")
_KINDS = (*_ABOUT_USERS, *_ABOUT_ROOMS, "modify", "nick", "topic", "announce", "message", "rooms", "help")
_OFTEN = ("join", "invite", "accept", "modify", "modify", "exit", "message", "message", "ban", "add")
_DEALINGS = (*_ABOUT_USERS, "invite", "invite", "ban", "modify", "modify")
_OPERATIONS = ("add", "remove", "modify", "modify", "message", "message", "destroy")
_FAULTS: tuple[Kind, ...] = (
    *("full", "replica", "no_replicas", "scripts_lost", "unreachable", "replies_lost", "half_lost"),
)
_MESSAGES = ("hello", "##list", "#1", "# Shopping", "  hello", "häh?")
_MARKS = ("{}", "sip:{}", "<sip:{}>", "SIP:{};transport=tcp")
_WORDS = {one.name: [word for word, it in BY_WORD.items() if it is one] for one in COMMANDS}


class Written(NamedTuple):
    """A request, and how its sender writes it: From, To and the body."""

    ask: Ask
    sender: str
    to: str
    body: str


def request(random: Random) -> Written:
    """A request of a user."""
    return _request(random, random.choice((*_KINDS, *_OFTEN)))


def dealing(random: Random) -> Written:
    """One that names a user."""
    return _request(random, random.choice(_DEALINGS))


def operation(random: Random) -> Ask:
    """A request of an operator."""
    kind = random.choice(_OPERATIONS)
    user = random.choice([*USERS]) if kind in {"add", "remove", "modify"} else ""
    role = random.choice(ROLES) if kind == "modify" else ""
    return Ask(kind, MANAGER, random.choice([*ROOMS]), user, role, operator=True)


def fault(random: Random) -> Fault:
    """A fault that begins soon and ends soon."""
    return Fault(random.choice(_FAULTS), random.randint(0, 6), random.randint(1, 4))


def settings(random: Random) -> dict[str, Any]:
    """Settings that the rules depend on."""
    return {
        "hash_size": random.choice((0, 2)),
        "history_max_messages": 0,  # the model has no history: who is not there is no different
        "create_on_join": random.random() < 0.7,
        "check_on_create": random.random() < 0.3,
        "owner_exit": random.choice(("confirm", "destroy", "refuse")),
        "announce_joins": random.random() < 0.6,
        "case_sensitive_users": random.random() < 0.7,
        "sender_prefix": random.choice(("", "{name}: ")),
        "max_members": random.choice((0, 0, 4, 6)),
        "max_bans": random.choice((0, 2)),
        "max_rooms_per_owner": random.choice((0, 1, 2)),
        "delivery_chunk": random.choice((1, 2, 500)),
    }


def _spelled(random: Random, names: dict[str, tuple[str, ...]]) -> tuple[str, str]:
    """An address, and one way to write it."""
    name = random.choice([*names])
    return name, random.choice((name, name, *names[name]))


def _party(random: Random) -> tuple[str, str]:
    """Who asks, or is asked about: seldom a room."""
    return _spelled(random, USERS if random.random() < 0.95 else ROOMS)


def _room(random: Random) -> tuple[str, str]:
    """Most often the same, so that something happens there."""
    return ("chat@example.org", "chat@example.org") if random.random() < 0.7 else _spelled(random, ROOMS)


def _request(random: Random, kind: str) -> Written:
    sender, from_ = _party(random)
    room, to = _room(random)
    if kind == "message":
        return Written(Ask(kind, sender, room), from_, to, random.choice(_MESSAGES))
    word, user, role, text, private = random.choice(_WORDS[kind]), "", "", "", False
    words = [random.choice((word, word.upper()))]
    if kind in _DEALINGS:
        user, written = _party(random)
        words.append(random.choice(_MARKS).format(written))
    if kind == "modify":
        role = random.choice(ROLES)
        words.append(random.choice((role, role.upper())))
    elif choices := {"nick": NICKNAMES, "topic": TOPICS, "announce": ("on", "off")}.get(kind):
        text = random.choice(choices)
        words += [text] if text else []
    # a room would be the nickname or the topic
    if random.random() < 0.4 and kind not in {"topic", "rooms", "help"} and (text or kind != "nick"):
        words.append(random.choice(_MARKS).format(to))
        to = random.choice((MANAGER, *ROOMS))
    if kind == "create" and random.random() < 0.5:
        private = True
        words.append("private")
    elif kind == "exit" and random.random() < 0.5:
        text = "confirm"
        words.append("confirm")
    return Written(Ask(kind, sender, room, user, role, text, private), from_, to, "#" + " ".join(words))
