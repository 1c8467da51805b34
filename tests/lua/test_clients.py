"""Members with and without CPIM in one room: what the broadcast scripts tell the edge, and note_client.

Covers the includes client.lua, say.lua and other_members.lua.
"""

from __future__ import annotations

import pytest

from imc_common.rooms.delivery_reports import AS_TEXT
from imc_common.rooms.event import Event
from tests.lua.shard import ALICE, BOB, CAROL, DAVE, OUT, ROOM, SHARD, Heard, Shard, decoded, heard


@pytest.fixture(params=["broadcast_message", "broadcast_messages"])
def room(request: pytest.FixtureRequest, shard: Shard) -> Shard:
    """Alice owns the room, Bob and Carol are members, Dave is invited. Messages come alone or together."""
    shard.ask("create", ALICE)
    for user in (BOB, CAROL):
        shard.ask("add", ALICE, user=user)
    shard.ask("invite", ALICE, user=DAVE)
    shard.settings["alone"] = request.param == "broadcast_message"
    return shard


def say(shard: Shard, sender: str, **fields: str) -> list[Heard]:
    """A message of this member; what was heard of it."""
    entry_id = shard.put("message", sender, **fields)
    if not shard.settings["alone"] and shard.together([entry_id]):
        return shard.drain()
    return shard.handle("broadcast_message", entry_id, sender)


def refuse_cpim(shard: Shard, *users: str) -> None:
    """These members have refused a message in CPIM and accepted the text."""
    for user in users:
        assert shard.report("note_client", "message", user, AS_TEXT) == []


def test_who_has_sent_cpim_gets_the_texts_of_others_in_cpim(room: Shard) -> None:
    """The edge is told for whom; the others get it as it is."""
    assert say(room, BOB, cpim="1") == [heard("message", ALICE, CAROL, by=BOB)]
    assert room.members()[BOB] == "member cpim"
    assert say(room, ALICE) == [
        heard("message", CAROL, by=ALICE),
        heard("message", BOB, by=ALICE, client="cpim"),
    ]
    assert say(room, BOB, cpim="1") == [heard("message", ALICE, CAROL, by=BOB)]
    assert say(room, BOB) == [heard("message", ALICE, CAROL, by=BOB)]


def test_who_has_refused_cpim_gets_text_from_then_on(room: Shard) -> None:
    """Also if they send CPIM themselves, as Linphone does outside of group chats."""
    refuse_cpim(room, CAROL)
    assert room.members()[CAROL] == "member text"
    assert say(room, BOB, cpim="1") == [
        heard("message", ALICE, by=BOB),
        heard("message", CAROL, by=BOB, client="text"),
    ]
    assert say(room, ALICE)[0] == heard("message", CAROL, by=ALICE)
    assert say(room, CAROL, cpim="1") == [heard("message", ALICE, BOB, by=CAROL)]
    for kind in ("typing", "disposition"):
        room.ask(kind, CAROL, cpim="1", message_id="m1 -")
    assert room.members()[CAROL] == "member text"
    room.redis.hset(room.keys.members(SHARD, ROOM), CAROL, "member text away")
    say(room, CAROL, cpim="1")
    assert room.members()[CAROL].startswith("member text")


def test_all_recipients_may_need_the_other_form(room: Shard) -> None:
    """Then it is one event."""
    refuse_cpim(room, ALICE, CAROL)
    assert say(room, BOB, cpim="1") == [heard("message", ALICE, CAROL, by=BOB, client="text")]


@pytest.mark.parametrize("history_max", [0, 500])
def test_both_forms_are_one_message(room: Shard, history_max: int) -> None:
    """Of the same position, so that its identity does not depend on the form."""
    room.settings["history_max_messages"] = history_max
    refuse_cpim(room, CAROL)
    entry_id = room.put("message", BOB, cpim="1")
    room.run("broadcast_message", *room.command("broadcast_message", entry_id, BOB))
    events = [
        Event.from_fields(entry, SHARD, {key: value for key, value in fields.items() if key != b"data"})
        for entry, fields in room.redis.xrange(OUT)
    ]
    assert [event.client for event in events] == ["", "text"]
    assert len({event.position for event in events}) == 1
    kept = decoded(room.redis.xrange(room.keys.history(SHARD, ROOM)))
    assert [position for position, _ in kept] == ([events[0].position] if history_max else [])


def test_a_room_that_keeps_this_message_not_says_so_in_both_forms(room: Shard) -> None:
    """Whose failure has no consequence then."""
    room.settings["history_max_messages"] = 500
    refuse_cpim(room, CAROL)
    found = [Heard(*each) for each in say(room, BOB, cpim="1", kept_ms="0")]
    assert [each.more.get("client") for each in found] == [None, "text"]


def test_the_client_is_known_until_the_membership_ends(room: Shard) -> None:
    """A change of the role and a time away do not end it."""
    say(room, BOB, cpim="1")
    room.ask("modify", ALICE, user=BOB, role="admin")
    assert room.members()[BOB] == "admin cpim"
    room.redis.hset(room.keys.members(SHARD, ROOM), BOB, "admin cpim away")
    refuse_cpim(room, BOB)
    assert room.members()[BOB] == "admin text away"
    assert say(room, ALICE) == [heard("message", CAROL, by=ALICE)]
    room.redis.hset(room.keys.members(SHARD, ROOM), BOB, "admin text")
    room.ask("exit", BOB)
    room.ask("join", BOB)
    assert room.members()[BOB] == "member"


def test_roles_count_whatever_the_client(room: Shard) -> None:
    """Lists, rights and notices."""
    for user in (ALICE, BOB):
        say(room, user, cpim="1")
    [listed] = room.ask("list", BOB)
    assert sorted(listed.more["list"].split()) == [f"member:{BOB}", f"member:{CAROL}", f"owner:{ALICE}"]
    told = room.ask("topic", ALICE, text="news")
    assert {user for each in told for user in each.to} == {ALICE, BOB, CAROL}
    assert room.ask("remove", BOB, user=CAROL)[0].more["reason"] == "admins_only"


@pytest.mark.parametrize("user", [DAVE, "eve@example.org"])
def test_who_is_no_member_has_no_client(room: Shard, user: str) -> None:
    """The report may come after the member has left."""
    before = room.members()
    refuse_cpim(room, user)
    assert room.members() == before


@pytest.mark.parametrize("kind", ["typing", "disposition"])
def test_receipts_and_typing_in_cpim_show_the_client_too(room: Shard, kind: str) -> None:
    """A member may only read."""
    room.ask(kind, BOB, cpim="1", message_id="m1 -")
    assert room.members()[BOB] == "member cpim"
    room.redis.hset(room.keys.members(SHARD, ROOM), BOB, "member away")
    room.ask(kind, BOB, cpim="1", message_id="m1 -")
    assert room.members()[BOB] == "member away"


def test_typing_is_told_in_the_form_of_each_client(room: Shard) -> None:
    """As a message is."""
    refuse_cpim(room, CAROL)
    assert room.ask("typing", BOB, cpim="1") == [
        heard("typing", ALICE, by=BOB),
        heard("typing", CAROL, by=BOB, client="text"),
    ]
