"""A private room looks to a stranger like a room that does not exist."""

from __future__ import annotations

import pytest

from imc_common.rooms.commands import COMMANDS
from imc_common.rooms.event import Event
from imc_common.rooms.roles import ROLES
from imc_common.rooms.texts import render
from imc_common.settings import Settings
from tests.lua.shard import ALICE, BOB, DAVE, IN, OUT, SCRIPT_OF, SHARD, Shard, decoded, heard

HIDDEN, ABSENT = "hidden@example.org", "absent@example.org"  # of one length
ABOUT_USERS = {command.name for command in COMMANDS if "user" in command.arguments}
SIGNALS = {"typing", "disposition", "remove_absent"}
"""A stranger hears nothing of them, whether there is a room or not."""
SIGNALS |= {
    "open_conference",
    "enter_conference",
    "confirm_dialog",
    "subscribe",
    "invite_device",
}
"""The edge has answered them."""
TELLS_THAT_A_NAME_IS_TAKEN = {"create", "join"}


def told(shard: Shard, kind: str, room: str, **fields: str) -> list[tuple[bytes, ...]]:
    """Whatever reaches Dave of his request, as bytes, apart from the room's name."""
    request = {"type": kind, "from": DAVE, "room": room, **fields, "data": ""}
    entry_id = decoded(shard.redis.xadd(IN, request))
    script = SCRIPT_OF[kind]
    command = shard.command(script, entry_id, DAVE, room, fields.get("user", ""))
    assert shard.run(script, *command) == "done"
    events = [entry for _, entry in shard.redis.xrange(OUT)]
    mine = [entry for entry in events if DAVE.encode() in entry[b"to"].split(b" ")]
    shard.redis.xtrim(OUT, maxlen=0)
    found = [tuple(value for pair in sorted(entry.items()) for value in pair) for entry in mine]
    heard_of = [Event.from_fields("1-1", SHARD, entry) for entry in mine]
    found += [(part.body,) for event in heard_of for part in render(event, Settings())]
    return [tuple(value.replace(room.encode(), b"ROOM") for value in each) for each in found]


def cases() -> list[tuple[str, dict[str, str]]]:
    """Every command and a plain message; about members, the stranger itself, strangers and the room."""
    found: list[tuple[str, dict[str, str]]] = []
    for kind in SCRIPT_OF:
        if kind in TELLS_THAT_A_NAME_IS_TAKEN or kind in SIGNALS:
            continue
        users = (ALICE, BOB, DAVE, "eve@example.org", "room") if kind in ABOUT_USERS else ("",)
        for user in users:
            for role in (*ROLES, "nonsense") if kind == "modify" else ("",):
                about = {"user": user, "role": role}
                found.append((kind, {name: value for name, value in about.items() if value}))
    return found


@pytest.mark.parametrize(("kind", "fields"), cases(), ids=lambda each: str(each).replace("@example.org", ""))
@pytest.mark.parametrize("full", [False, True], ids=["", "full"])
def test_a_stranger_gets_the_same_notice_as_for_no_room(
    shard: Shard, kind: str, fields: dict[str, str], full: bool
) -> None:
    """Byte for byte, apart from the name asked for; also if the room is full."""
    shard.ask("create", ALICE, HIDDEN, private="1")
    shard.ask("add", ALICE, HIDDEN, user=BOB)
    if full:
        shard.settings["max_members"] = 2
    of = {
        room: told(shard, kind, room, **fields | ({"user": room} if fields.get("user") == "room" else {}))
        for room in (HIDDEN, ABSENT)
    }
    assert of[HIDDEN] == of[ABSENT]
    assert any(b"this room does not exist" in value for each in of[HIDDEN] for value in each)


@pytest.mark.parametrize(("kind", "fields"), cases(), ids=lambda each: str(each).replace("@example.org", ""))
def test_a_strangers_request_takes_the_same_commands_as_for_no_room(
    real_shard: Shard, kind: str, fields: dict[str, str]
) -> None:
    """So response times tell nothing. Members are looked up by name only."""
    shard = real_shard
    shard.ask("create", ALICE, HIDDEN, private="1")
    people = {f"u{number}@example.org": "member" for number in range(499)}
    shard.redis.hset(shard.keys.members(SHARD, HIDDEN), mapping=people)
    of = {}
    for room in (HIDDEN, ABSENT):
        about = fields | ({"user": room} if fields.get("user") == "room" else {})
        told(shard, kind, room, **about)
        shard.redis.config_resetstat()
        told(shard, kind, room, **about)
        of[room] = {name: each["calls"] for name, each in shard.redis.info("commandstats").items()}
    assert of[HIDDEN] == of[ABSENT]
    assert "cmdstat_hgetall" not in of[HIDDEN]


@pytest.mark.parametrize("who", [DAVE, ALICE])
def test_the_members_are_read_only_for_a_sender_who_may_speak(real_shard: Shard, who: str) -> None:
    """Also if many messages are handled by one script."""
    shard = real_shard
    shard.ask("create", ALICE, HIDDEN, private="1")
    entry_id = shard.put("message", who, HIDDEN)
    shard.redis.config_resetstat()
    assert shard.together([entry_id]) == int(who == ALICE)
    assert ("cmdstat_hgetall" in shard.redis.info("commandstats")) == (who == ALICE)


def test_join_of_a_private_room_tells_nothing_without_create_on_join(shard: Shard) -> None:
    """With `create_on_join = false`, to be asked for a private room's existence it is like the others."""
    shard.settings["create_on_join"] = 0
    shard.ask("create", ALICE, HIDDEN, private="1")
    assert told(shard, "join", HIDDEN) == told(shard, "join", ABSENT) != []


def test_a_former_member_is_a_stranger_again(shard: Shard) -> None:
    """Whichever way the membership ended; also after a withdrawn invitation."""
    shard.ask("create", ALICE, HIDDEN, private="1")
    never = told(shard, "list", ABSENT)
    shard.ask("add", ALICE, HIDDEN, user=DAVE)
    shard.ask("remove", ALICE, HIDDEN, user=DAVE)
    assert told(shard, "list", HIDDEN) == never
    shard.ask("add", ALICE, HIDDEN, user=DAVE)
    shard.ask("exit", DAVE, HIDDEN)
    assert told(shard, "list", HIDDEN) == never
    shard.ask("invite", ALICE, HIDDEN, user=DAVE)
    shard.ask("remove", ALICE, HIDDEN, user=DAVE)
    assert told(shard, "list", HIDDEN) == never
    assert told(shard, "accept", HIDDEN) == told(shard, "accept", ABSENT)
    shard.ask("invite", ALICE, HIDDEN, user=DAVE)
    shard.ask("deny", DAVE, HIDDEN)
    assert told(shard, "list", HIDDEN) == never
    assert shard.private_rooms(DAVE) == set()


def test_a_removed_member_gets_no_later_message(shard: Shard) -> None:
    """Recipients are those at the turn of the message, not at the time of its delivery."""
    shard.ask("create", ALICE, HIDDEN, private="1")
    shard.ask("add", ALICE, HIDDEN, user=BOB)
    shard.ask("add", ALICE, HIDDEN, user=DAVE)
    assert shard.ask("message", ALICE, HIDDEN) == [heard("message", BOB, DAVE, by=ALICE)]
    shard.ask("modify", ALICE, HIDDEN, user=BOB, role="admin")
    shard.ask("remove", BOB, HIDDEN, user=DAVE)
    for kind in ("message", "list", "exit", "destroy"):
        for event in shard.ask(kind, ALICE, HIDDEN):
            assert DAVE not in event.to
