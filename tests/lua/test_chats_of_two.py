"""A chat of two that one of them deletes, as Linphone's apps do by BYE: the next message brings it back."""

from __future__ import annotations

import pytest

from imc_common import keys
from imc_common.rooms.request import RequestData
from tests.lua.conference import (
    BOBS,
    BOBS_OTHER,
    PHONE,
    about,
    accept,
    devices,
    dialog,
    events,
    handle,
    named,
    notified,
    opened,
    subscribe,
)
from tests.lua.shard import ALICE, BOB, CAROL, IN, OUT, ROOM, SHARD, Shard, decoded, entries

OF_TWO = RequestData(headers=(("One-To-One-Chat-Room", "true"), ("Ephemerable", "true"))).pack()


@pytest.fixture
def room(shard: Shard) -> Shard:
    """Alice's phone has made it, and Bob's is in it."""
    shard.settings["history_max_messages"] = 500
    opened(shard, BOB)
    shard.redis.hset(shard.keys.room(SHARD, ROOM), "conference", OF_TWO)
    accept(shard, BOBS, by=BOBS)
    events(shard)
    return shard


def delete(shard: Shard, device: str, user: str) -> list[tuple[str, str]]:
    """The user deletes the chat on this device; name and recipients of the events."""
    handle(shard, "exit", user, device=device, dialog=about(shard, "dialog", device) or "")
    return [(name, to) for name, to, _ in events(shard)]


def do_all(shard: Shard) -> None:
    """A worker does what waits, and an edge hands out what was missed."""
    for entry, fields in decoded(shard.redis.xrange(IN)):
        command = shard.command("open_room", entry, fields["from"])
        assert fields["type"] == "open"
        assert shard.run("open_room", *command) == "done"
    for entry, fields in decoded(shard.redis.xrange(OUT)):
        if fields["event"] == "catch_up":
            shard.run("hand_out", *shard.call_hand_out(entry, fields["to"]))


def test_who_deletes_it_stays_a_member_without_devices(room: Shard) -> None:
    """The other one goes on seeing with whom it is. The user's other devices get BYE."""
    accept(room, BOBS_OTHER, by=BOBS_OTHER)
    subscribe(room, PHONE)
    notified(room)
    assert delete(room, BOBS, BOB) == [("bye", BOBS_OTHER)]
    assert room.members() == {ALICE: "owner devices", BOB: "member inviting"}
    assert room.private_rooms(BOB) == {ROOM}
    ((device, content),) = notified(room)
    assert (device, [each[:3] for each in content["users"] if each[0] == BOB]) == (
        PHONE,
        [[BOB, "member", []]],
    )


@pytest.mark.parametrize("together", [True, False])
def test_the_next_message_brings_it_back(room: Shard, together: bool) -> None:
    """By one INVITE, however many messages come before it is accepted; and none of them is lost."""
    joined = about(room, "joined", BOB)
    delete(room, BOBS, BOB)
    ids = [room.put("message", ALICE, device=PHONE) for _ in range(3)]
    handled = room.together(ids) if together else 0
    assert handled == 0, "the first one needs more"
    for entry in ids:
        assert room.run("broadcast_message", *room.command("broadcast_message", entry, ALICE)) == "done"
    do_all(room)
    ((to, invite),) = named(room, "invite")
    assert (to, about(room, "left", BOB)) == (BOB, None)
    assert invite["joined"] == about(room, "joined", BOB) != joined, "a new stay"
    accept(room, BOBS, by=BOB)
    do_all(room)
    kept = [entry for entry, _ in decoded(room.redis.xrange(room.keys.history(SHARD, ROOM)))]
    assert [(to, more["history_id"]) for to, more in named(room, "message")] == [
        (f"{BOBS};aor", each) for each in kept
    ]
    assert len(kept) == 3
    assert room.members()[BOB] == "member devices"


def test_the_owner_who_deletes_it_owns_it_no_more(room: Shard) -> None:
    """It counts for the other one, who still has it."""
    delete(room, PHONE, ALICE)
    assert room.members() == {ALICE: "member inviting", BOB: "owner devices"}
    assert (room.owned_rooms(ALICE), room.owned_rooms(BOB)) == (set(), {ROOM})
    handle(room, "message", BOB, device=BOBS)
    do_all(room)
    assert [to for to, _ in named(room, "invite")] == [ALICE]


@pytest.mark.parametrize("first", [ALICE, BOB])
def test_it_ends_when_both_have_deleted_it(room: Shard, first: str) -> None:
    """Nothing of it is left."""
    for user, device in sorted([(ALICE, PHONE), (BOB, BOBS)], key=lambda each: each[0] != first):
        delete(room, device, user)
    assert not room.exists()
    assert [room.private_rooms(user) for user in (ALICE, BOB)] == [set(), set()]
    assert room.owned_rooms(ALICE) == room.owned_rooms(BOB) == set()


def test_a_device_that_registers_does_not_bring_it_back(room: Shard) -> None:
    """It is neither found nor waited for."""
    delete(room, BOBS, BOB)
    where = [room.keys.rooms(SHARD), keys.private_rooms(SHARD, BOB)]
    prefixes = [room.keys.members(SHARD, ""), keys.devices(SHARD, ""), room.keys.room(SHARD, "")]
    assert room.run("find_rooms", where, [BOB, BOBS, 0, 10, *prefixes, 0]) == [0, 0]
    handle(room, "invite_device", BOB, device=BOBS)
    entry = room.put("user_online", BOB, BOB)
    room.run("call_user_back", *room.call_online(entry, BOB))
    assert events(room) == []


def test_its_user_may_open_it_again(room: Shard) -> None:
    delete(room, BOBS, BOB)
    handle(room, "open", BOB)
    assert [to for to, _ in named(room, "invite")] == [BOB]
    handle(room, "enter_conference", BOB, device=BOBS, dialog=dialog("again"))
    assert devices(room)[BOBS] == "device"
    assert about(room, "left", BOB) is None


def test_a_third_member_brings_it_back(room: Shard) -> None:
    """It is no chat of two any more: what is said is meant for all."""
    delete(room, BOBS, BOB)
    handle(room, "add", ALICE, user=CAROL)
    do_all(room)
    assert [to for to, _ in named(room, "invite")] == [BOB]


@pytest.mark.parametrize("kind", ["#exit", "a third member", "a group"])
def test_others_leave_as_always(room: Shard, kind: str) -> None:
    """Who says so, who leaves more than one behind, and who leaves a room that was none of two."""
    if kind == "a third member":
        handle(room, "add", ALICE, user=CAROL)
    if kind == "a group":
        room.redis.hdel(room.keys.room(SHARD, ROOM), "conference")
    if kind == "#exit":
        handle(room, "exit", BOB, device=BOBS)
    else:
        delete(room, BOBS, BOB)
    assert BOB not in room.members()
    handle(room, "message", ALICE, device=PHONE)
    assert entries(room, IN) == []
