"""broadcast_message, list_members, notify_sender, discard_receipt."""

import pytest

from tests.lua.shard import ALICE, BOB, CAROL, DAVE, IN, OUT, ROOM, Shard, heard, refused

EVE = "eve@example.org"


@pytest.fixture(params=["public", "private"])
def room(request: pytest.FixtureRequest, shard: Shard) -> Shard:
    """Alice owns the room, Bob is admin, Carol member, Dave invited."""
    shard.ask("create", ALICE, **({"private": "1"} if request.param == "private" else {}))
    shard.ask("add", ALICE, user=BOB)
    shard.ask("modify", ALICE, user=BOB, role="admin")
    shard.ask("add", ALICE, user=CAROL)
    shard.ask("invite", ALICE, user=DAVE)
    shard.settings["private"] = request.param == "private"
    return shard


@pytest.mark.parametrize(
    ("sender", "others"), [(ALICE, (BOB, CAROL)), (BOB, (ALICE, CAROL)), (CAROL, (ALICE, BOB))]
)
def test_message_goes_to_the_others(room: Shard, sender: str, others: tuple[str, ...]) -> None:
    """Every member but the sender; never the invited."""
    assert room.ask("message", sender) == [heard("message", *others, by=sender)]


def test_the_invited_may_not_speak(room: Shard) -> None:
    """Invited is not accepted."""
    assert room.ask("message", DAVE) == refused(DAVE, "not_member", "message")


def test_stranger_may_not_speak_or_list(room: Shard) -> None:
    """A private room answers a stranger like one that is not there."""
    reason = "unknown_room" if room.settings["private"] else "not_member"
    for command in ("message", "list"):
        assert room.ask(command, EVE) == refused(EVE, reason, command)
        assert room.ask(command, EVE, "nowhere@example.org") == refused(EVE, "unknown_room", command)


def test_message_to_nobody(shard: Shard) -> None:
    """The only member's message is handled, and there is nobody to hear it."""
    shard.ask("create", ALICE)
    assert shard.ask("message", ALICE) == []


@pytest.mark.parametrize(("chunk", "sizes"), [(1, [1] * 5), (2, [2, 2, 1]), (5, [5]), (64, [5])])
def test_message_is_cut_into_chunks(shard: Shard, chunk: int, sizes: list[int]) -> None:
    """At most delivery_chunk recipients per event, each recipient once."""
    shard.ask("create", ALICE)
    users = [f"user{number}@example.org" for number in range(5)]
    for user in users:
        shard.ask("join", user)
    shard.settings["delivery_chunk"] = chunk
    told = shard.ask("message", ALICE)
    assert [len(event.to) for event in told] == sizes
    assert sorted(who for event in told for who in event.to) == users


def test_messages_keep_their_order(room: Shard) -> None:
    """What is handled first stands first in the out-stream."""
    for sender in (BOB, CAROL, BOB):
        entry_id = room.put("message", sender)
        script = "broadcast_message"
        assert room.run(script, *room.command(script, entry_id, sender)) == "done"
    assert [event.by for event in room.drain()] == [BOB, CAROL, BOB]


@pytest.mark.parametrize("sender", [ALICE, BOB, CAROL])
def test_list(room: Shard, sender: str) -> None:
    """Members with their roles, in any order; the invited are left out."""
    (told,) = room.ask("list", sender)
    assert (told.event, told.to) == ("members", (sender,))
    assert set(told.more["list"].split(" ")) == {f"owner:{ALICE}", f"admin:{BOB}", f"member:{CAROL}"}


def test_the_invited_get_no_list(room: Shard) -> None:
    """Who is in is for members."""
    assert room.ask("list", DAVE) == refused(DAVE, "not_member", "list")


def test_answer_help(shard: Shard) -> None:
    """Help goes back to who asked."""
    entry_id = shard.put("help", ALICE)
    assert shard.run("notify_sender", [IN, OUT], [entry_id, "help"]) == "done"
    assert shard.drain() == [heard("help", ALICE, by=ALICE)]


def test_answer_rooms(shard: Shard) -> None:
    """The caller's fields go along."""
    entry_id = shard.put("rooms", ALICE)
    args = [entry_id, "rooms", "list", f"public:{ROOM}", "more", "7"]
    assert shard.run("notify_sender", [IN, OUT], args) == "done"
    assert shard.drain() == [heard("rooms", ALICE, by=ALICE, list=f"public:{ROOM}", more="7")]


def test_answer_refused(shard: Shard) -> None:
    """What the edge found wrong is passed on from the request."""
    entry_id = shard.put("refused", ALICE, reason="unknown_command", command="jion", detail="x")
    assert shard.run("notify_sender", [IN, OUT], [entry_id, "refused"]) == "done"
    assert shard.drain() == refused(ALICE, "unknown_command", "jion", detail="x")


def test_a_room_gets_no_answer(shard: Shard) -> None:
    """A room that asks itself for help is not answered."""
    entry_id = shard.put("help", ROOM)
    assert shard.run("notify_sender", [IN, OUT], [entry_id, "help"]) == "done"
    assert shard.drain() == []


def test_discard_receipt(shard: Shard) -> None:
    """The receipt goes, nothing else happens."""
    entry_id = shard.put("receipt", BOB, event="message", status="503")
    assert shard.run("discard_receipt", [IN], [entry_id]) == "done"
    assert shard.redis.xlen(IN) == shard.redis.xlen(OUT) == 0
