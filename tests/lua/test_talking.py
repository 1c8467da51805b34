"""broadcast_message, list_members, notify_sender, discard_report."""

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
def test_a_message_goes_to_the_other_members(room: Shard, sender: str, others: tuple[str, ...]) -> None:
    """Never to the invited."""
    assert room.ask("message", sender) == [heard("message", *others, by=sender)]


def test_an_invited_user_may_not_speak(room: Shard) -> None:
    assert room.ask("message", DAVE) == refused(DAVE, "not_member", "message")


def test_a_stranger_may_neither_speak_nor_list_members(room: Shard) -> None:
    """A private room looks like no room."""
    reason = "unknown_room" if room.settings["private"] else "not_member"
    for command in ("message", "list"):
        assert room.ask(command, EVE) == refused(EVE, reason, command)
        assert room.ask(command, EVE, "nowhere@example.org") == refused(EVE, "unknown_room", command)


def test_a_message_of_the_only_member_has_no_recipients(shard: Shard) -> None:
    """It is handled without an event."""
    shard.ask("create", ALICE)
    assert shard.ask("message", ALICE) == []


@pytest.mark.parametrize(("chunk", "sizes"), [(1, [1] * 5), (2, [2, 2, 1]), (5, [5]), (64, [5])])
def test_the_recipients_of_a_message_are_cut_into_chunks(shard: Shard, chunk: int, sizes: list[int]) -> None:
    """At most delivery_chunk per event, each recipient once."""
    shard.ask("create", ALICE)
    users = [f"user{number}@example.org" for number in range(5)]
    for user in users:
        shard.ask("join", user)
    shard.settings["delivery_chunk"] = chunk
    told = shard.ask("message", ALICE)
    assert [len(event.to) for event in told] == sizes
    assert sorted(who for event in told for who in event.to) == users


def test_messages_keep_their_order(room: Shard) -> None:
    """They are in the out-stream in the order in which they were handled."""
    for sender in (BOB, CAROL, BOB):
        entry_id = room.put("message", sender)
        script = "broadcast_message"
        assert room.run(script, *room.command(script, entry_id, sender)) == "done"
    assert [event.by for event in room.drain()] == [BOB, CAROL, BOB]


@pytest.mark.parametrize("sender", [ALICE, BOB, CAROL])
def test_list_gives_members_with_their_roles(room: Shard, sender: str) -> None:
    """Unsorted, without the invited."""
    (told,) = room.ask("list", sender)
    assert (told.event, told.to) == ("members", (sender,))
    assert set(told.more["list"].split(" ")) == {f"owner:{ALICE}", f"admin:{BOB}", f"member:{CAROL}"}


def test_an_invited_user_gets_no_list(room: Shard) -> None:
    assert room.ask("list", DAVE) == refused(DAVE, "not_member", "list")


def test_help_goes_to_the_sender(shard: Shard) -> None:
    entry_id = shard.put("help", ALICE)
    assert shard.run("notify_sender", [IN, OUT], [entry_id, "help"]) == "done"
    assert shard.drain() == [heard("help", ALICE, by=ALICE)]


def test_the_list_of_rooms_goes_to_the_sender(shard: Shard) -> None:
    """With the fields that the worker adds."""
    entry_id = shard.put("rooms", ALICE)
    args = [entry_id, "rooms", "list", f"public:{ROOM}", "more", "7"]
    assert shard.run("notify_sender", [IN, OUT], args) == "done"
    assert shard.drain() == [heard("rooms", ALICE, by=ALICE, list=f"public:{ROOM}", more="7")]


def test_a_refusal_by_the_edge_goes_to_the_sender(shard: Shard) -> None:
    """With the reason, command and detail of the request."""
    entry_id = shard.put("refused", ALICE, reason="unknown_command", command="jion", detail="x")
    assert shard.run("notify_sender", [IN, OUT], [entry_id, "refused"]) == "done"
    assert shard.drain() == refused(ALICE, "unknown_command", "jion", detail="x")


def test_a_room_that_asks_itself_gets_no_notice(shard: Shard) -> None:
    entry_id = shard.put("help", ROOM)
    assert shard.run("notify_sender", [IN, OUT], [entry_id, "help"]) == "done"
    assert shard.drain() == []


def test_a_discarded_report_has_no_effect(shard: Shard) -> None:
    """It leaves the stream."""
    entry_id = shard.put("delivery_report", BOB, event="message", status="503")
    assert shard.run("discard_report", [IN], [entry_id]) == "done"
    assert shard.redis.xlen(IN) == shard.redis.xlen(OUT) == 0
