"""mark_away, call_user_back, hand_out, resume_catch_up: who was away gets what it missed, in order, once."""

from __future__ import annotations

from typing import Any

import pytest

from imc_common import keys
from imc_common.rooms.request import RequestData
from imc_edge.delivering.absence import parse
from tests.lua.header import header_of
from tests.lua.shard import ALICE, BOB, CAROL, DAVE, OUT, ROOM, SHARD, Shard, decoded, heard

OTHER = "chat-001@example.org"


@pytest.fixture
def room(shard: Shard) -> Shard:
    """Alice owns a room that keeps messages; Bob and Carol are members."""
    shard.settings["history_max_messages"] = 500
    shard.ask("create", ALICE)
    for member in (BOB, CAROL):
        shard.ask("add", ALICE, user=member)
    return shard


def say(shard: Shard, sender: str = ALICE, room: str = ROOM, **fields: str) -> str:
    """A message to the room; its id in the history."""
    shard.ask("message", sender, room, **fields)
    return str(decoded(shard.redis.xrevrange(shard.keys.history(SHARD, room), count=1))[0][0])


def fail(
    shard: Shard, history_id: str, user: str = BOB, status: str = "480", room: str = ROOM, **more: str
) -> None:
    """The delivery of this message to the user found nobody."""
    fields = {"event": "message", "status": status, "history_id": history_id, "user": ALICE, **more}
    report = shard.put("delivery_report", user, room, **fields)
    assert shard.run("mark_away", *shard.command("mark_away", report, user, room)) == "done"


def joined(shard: Shard, position: str) -> None:
    """Bob has been a member since then."""
    shard.redis.hset(shard.keys.room(SHARD, ROOM), f"joined:{BOB}", position)


def come_online(shard: Shard, user: str = BOB) -> None:
    entry_id = shard.put("user_online", user, user)
    assert shard.run("call_user_back", *shard.call_online(entry_id, user)) == "done"


def about(shard: Shard, kind: str, user: str = BOB, room: str = ROOM) -> str | None:
    """What the room keeps of the user."""
    value: str | None = decoded(shard.redis.hget(shard.keys.room(SHARD, room), f"{kind}:{user}"))
    return value


def items(shard: Shard) -> list[tuple[str, dict[str, str]]]:
    """The entries of the out-stream."""
    return [(entry, fields) for entry, fields in decoded(shard.redis.xrange(OUT))]


def hand_out(shard: Shard, user: str = BOB, room: str = ROOM) -> list[tuple[str, str, str]]:
    """What an edge hands out for the catch_up item: author, id and catch_up of each message."""
    ((entry, item),) = [found for found in items(shard) if found[1]["event"] == "catch_up"]
    assert (item["to"], item["room"]) == (user, room)
    count = shard.run("hand_out", *shard.call_hand_out(entry, user, room))
    found = [fields for _, fields in items(shard) if fields["event"] == "message"]
    assert count == len(found)
    return [(fields["from"], fields["history_id"], fields["catch_up"]) for fields in found]


def last_part(shard: Shard, user: str = BOB) -> None:
    """The message that leads on was delivered; what follows."""
    entry = about(shard, "returning", user)
    assert entry
    shard.redis.xtrim(OUT, maxlen=0)
    report = shard.put("delivery_report", user, event="message", status="200", of=entry, catch_up="more")
    assert shard.run("resume_catch_up", *shard.command("resume_catch_up", report, user)) == "done"


def test_a_failure_of_an_earlier_membership_changes_nothing(room: Shard) -> None:
    """Bob was removed and added again: what was said in between is not for him."""
    missed = say(room)
    room.ask("remove", ALICE, user=BOB)
    say(room)
    room.ask("add", ALICE, user=BOB)
    fail(room, missed)
    assert room.members()[BOB] == "member"
    assert about(room, "away") is None
    fail(room, later := say(room))
    assert about(room, "away") == later


def test_who_is_not_there_is_away_from_that_message_on(room: Shard) -> None:
    """Also if later failures come first."""
    first, second, third = say(room), say(room), say(room)
    for failed in (second, third, first):
        fail(room, failed)
    assert room.members()[BOB] == "member away"
    assert about(room, "away") == first
    assert decoded(room.redis.smembers(keys.away_rooms(SHARD, BOB))) == {ROOM}


def test_the_first_probe_is_due_after_two_seconds(room: Shard) -> None:
    """Further failures do not put it off."""
    fail(room, say(room))
    seconds, microseconds = room.redis.time()
    due = room.redis.zscore(keys.probes(SHARD), BOB)
    assert 0 < due - 1000 * float(seconds) - float(microseconds) / 1000 <= 2000
    fail(room, say(room))
    assert room.redis.zscore(keys.probes(SHARD), BOB) == due
    assert room.redis.hget(keys.probe_waits(SHARD), BOB) == b"2000"


@pytest.mark.parametrize(("catch_up", "begins_anew"), [("", True), ("part", True), ("probe", False)])
def test_probes_begin_anew_when_a_user_is_lost_again(room: Shard, catch_up: str, begins_anew: bool) -> None:
    """It was here a moment ago, so two seconds may be enough; a failed probe only has its successor."""
    first = say(room)
    fail(room, first)
    come_online(room)
    later = room.redis.zscore(keys.probes(SHARD), BOB)
    fail(room, first, catch_up=catch_up)
    assert (room.redis.zscore(keys.probes(SHARD), BOB) < later) is begins_anew
    assert (room.redis.hget(keys.probe_waits(SHARD), BOB) == b"2000") is begins_anew


@pytest.mark.parametrize("who", [DAVE, "eve@example.org"])
def test_others_than_members_are_not_away(room: Shard, who: str) -> None:
    room.ask("invite", ALICE, user=DAVE)
    before = room.members()
    fail(room, say(room), who)
    assert room.members() == before
    assert not room.redis.exists(keys.away_rooms(SHARD, who), keys.probes(SHARD))


def test_nobody_is_away_in_a_room_that_keeps_nothing(room: Shard) -> None:
    room.redis.sadd(keys.history_off(SHARD), ROOM)
    fail(room, "5-1")
    assert room.members()[BOB] == "member"


def test_what_was_missed_is_handed_out_in_order(room: Shard) -> None:
    """Not what the member said itself. With it, the member is no longer away."""
    say(room)
    missed = [say(room), say(room, CAROL)]
    fail(room, missed[0])
    say(room, BOB)
    room.redis.xtrim(OUT, maxlen=0)
    come_online(room)
    assert hand_out(room) == [(ALICE, missed[0], "part"), (CAROL, missed[1], "part")]
    assert room.members()[BOB] == "member"
    assert [about(room, kind) for kind in ("away", "returning", "refused")] == [None] * 3
    assert not room.redis.exists(keys.away_rooms(SHARD, BOB), keys.probes(SHARD), keys.probe_waits(SHARD))
    assert room.ask("message", ALICE)[-1] == heard("message", BOB, CAROL, by=ALICE)


def test_the_first_message_of_a_part_says_from_where_on_messages_were_missed(room: Shard) -> None:
    """Here the first one is not kept any more: the edge must not wait for it."""
    first, *missed = [say(room) for _ in range(3)]
    fail(room, first)
    room.redis.xdel(room.keys.history(SHARD, ROOM), first)
    room.redis.xtrim(OUT, maxlen=0)
    come_online(room)
    hand_out(room)
    sent = [fields for _, fields in items(room) if "catch_up" in fields]
    joined = room.redis.hget(room.keys.room(SHARD, ROOM), f"joined:{BOB}").decode()
    assert [(fields["history_id"], fields.get("since"), fields.get("joined")) for fields in sent] == [
        (missed[0], first, joined),
        (missed[1], None, None),
    ]


def test_a_late_report_of_a_live_message_does_not_stop_what_has_begun(room: Shard) -> None:
    """The user came back while the failures of many messages were still on their way."""
    missed = [say(room) for _ in range(3)]
    fail(room, missed[0])
    come_online(room)
    fail(room, missed[1], status="away", catch_up="")
    room.redis.xtrim(OUT, maxlen=1)
    assert [history_id for _, history_id, _ in hand_out(room)] == missed


def test_a_long_absence_is_handed_out_in_parts(room: Shard) -> None:
    """The next part follows when this one was delivered; behind it what was said meanwhile."""
    missed = [say(room) for _ in range(12)]
    fail(room, missed[0])
    come_online(room)
    first = hand_out(room)
    assert first == [(ALICE, each, "part") for each in missed[:9]] + [(ALICE, missed[9], "more")]
    assert room.members()[BOB] == "member away"
    last_part(room)
    late = room.run(
        "broadcast_message", *room.command("broadcast_message", room.put("message", CAROL), CAROL)
    )
    assert late == "done"
    found = [(fields["from"], fields.get("catch_up")) for entry, fields in items(room) if BOB in fields["to"]]
    assert found == [(ROOM, None)]  # the live message is not for Bob
    ((entry, _),) = [found for found in items(room) if found[1]["event"] == "catch_up"]
    assert room.run("hand_out", *room.call_hand_out(entry, BOB)) == 3
    assert [fields["from"] for _, fields in items(room) if "catch_up" in fields] == [ALICE, ALICE, CAROL]
    assert room.members()[BOB] == "member"


def test_only_the_latest_are_handed_out_after_a_long_absence(room: Shard) -> None:
    """Before them the member is told how many there were, not counting its own."""
    room.settings["catch_up_max"] = 3
    missed = [say(room)]
    fail(room, missed[0])
    say(room, BOB)
    missed += [say(room) for _ in range(7)]
    room.redis.xtrim(OUT, maxlen=0)
    come_online(room)
    assert [found[1] for found in hand_out(room)] == missed[5:]
    told = [fields for _, fields in items(room) if fields["event"] == "skipped"]
    assert [(fields["to"], fields["detail"]) for fields in told] == [(BOB, "5")]
    assert items(room)[0][1]["event"] == "skipped"


def test_what_is_too_old_or_has_expired_is_not_handed_out(real_shard: Shard) -> None:
    """The age is a setting, the expiry the sender's."""
    real_shard.settings |= {"history_max_messages": 500, "history_max_age": 1000.0}
    real_shard.ask("create", ALICE)
    real_shard.ask("add", ALICE, user=BOB)
    history = real_shard.keys.history(SHARD, ROOM)
    real_shard.redis.xadd(history, {ALICE: "\x81"}, id="1-1")
    packed: Any = [RequestData(body=b"\0", expires_at=at).pack() for at in (2**40, 2**50, None)]
    ids = [decoded(real_shard.redis.xadd(history, {ALICE: data})) for data in packed]
    joined(real_shard, "1-0")
    fail(real_shard, "1-1")
    come_online(real_shard)
    assert [found[1] for found in hand_out(real_shard)] == ids[1:]


@pytest.mark.parametrize("ahead", [-3600, 0, 3600, 30 * 86_400])
def test_a_wrong_clock_of_an_edge_loses_nothing(room: Shard, ahead: int) -> None:
    """Redis's clock has to say as well that a message is too old."""
    fail(room, missed := say(room))
    come_online(room)
    ((entry, _),) = [found for found in items(room) if found[1]["event"] == "catch_up"]
    where, args = room.call_hand_out(entry, BOB)
    place = header_of("hand_out").names("ARGV").index("oldest_ms")
    args[place] = int(args[place]) + ahead * 1000
    assert room.run("hand_out", where, args) == 1
    assert [fields["history_id"] for _, fields in items(room) if fields["event"] == "message"] == [missed]


def hand_out_nothing(shard: Shard) -> None:
    """Bob gives a sign, and nothing of what he missed is left."""
    come_online(shard)
    ((entry, _),) = [found for found in items(shard) if found[1]["event"] == "catch_up"]
    assert shard.run("hand_out", *shard.call_hand_out(entry, BOB)) == 0


def test_what_failed_in_an_earlier_room_of_this_name_changes_nothing(room: Shard) -> None:
    """Its owner has deleted it, and Bob has created it again: the report comes late. Edges are told that
    nothing before the creation is sent any more."""
    of_old_room = say(room)
    room.ask("destroy", ALICE)
    room.ask("create", BOB)
    room.ask("join", ALICE)
    fail(room, of_old_room)
    assert room.members()[BOB] == "owner"
    fail(room, missed := say(room))
    come_online(room)
    hand_out(room)
    ((_, part),) = [each for each in items(room) if each[1].get("catch_up") == "part"]
    assert parse(of_old_room) < parse(part["joined"]) < parse(missed)


def test_an_absence_of_which_nothing_is_left_is_over_for_edges_too(room: Shard) -> None:
    """An edge remembers the message that failed, and would withhold what follows. It is told that nothing
    before this place is sent any more."""
    fail(room, first := say(room))
    room.redis.xdel(room.keys.history(SHARD, ROOM), first)
    hand_out_nothing(room)
    ended = about(room, "ended")
    assert ended is not None
    fail(room, second := say(room), status="away")
    come_online(room)
    hand_out(room)
    ((_, part),) = [each for each in items(room) if each[1].get("catch_up") == "part"]
    assert (part["since"], part["joined"]) == (second, ended)
    assert parse(first) < parse(ended) < parse(second)
    assert about(room, "ended") is None


def test_a_later_membership_counts_more_than_the_end_of_an_absence(room: Shard) -> None:
    room.redis.hset(room.keys.room(SHARD, ROOM), f"ended:{BOB}", "5-0")
    fail(room, say(room))
    come_online(room)
    hand_out(room)
    ((_, part),) = [each for each in items(room) if each[1].get("catch_up") == "part"]
    assert part["joined"] == about(room, "joined") != "5-0"


def test_a_nickname_comes_with_the_message(room: Shard) -> None:
    room.settings["history_max_age"] = 0.0
    room.redis.xadd(room.keys.history(SHARD, ROOM), {ALICE: "\x81", "nick": "Al"}, id="1-1")
    joined(room, "1-0")
    fail(room, "1-1")
    come_online(room)
    hand_out(room)
    assert [fields["nick"] for _, fields in items(room)] == ["Al"]


def test_a_user_comes_back_in_all_rooms_of_the_shard(room: Shard) -> None:
    """Rooms that it has left, or that do not exist any more, are forgotten."""
    room.ask("create", ALICE, OTHER)
    room.ask("add", ALICE, OTHER, user=BOB)
    fail(room, say(room))
    fail(room, say(room, room=OTHER), room=OTHER)
    room.redis.sadd(keys.away_rooms(SHARD, BOB), "gone@example.org")
    come_online(room)
    assert sorted(fields["room"] for _, fields in items(room)) == [ROOM, OTHER]
    assert not room.exists("gone@example.org")
    assert decoded(room.redis.smembers(keys.away_rooms(SHARD, BOB))) == {ROOM, OTHER}


def test_a_return_is_noted_once(room: Shard) -> None:
    """While the event that leads on exists. If it gets lost, the next return helps."""
    fail(room, say(room))
    come_online(room)
    come_online(room)
    assert len(items(room)) == 1
    room.redis.xtrim(OUT, maxlen=0)
    come_online(room)
    assert len(items(room)) == 1


def test_an_item_of_another_return_hands_out_nothing(room: Shard) -> None:
    """It was replaced by a later one, or has been handled."""
    fail(room, missed := say(room))
    come_online(room)
    ((entry, _),) = items(room)
    fail(room, missed, catch_up="part")  # what led on is forgotten
    come_online(room)
    assert room.run("hand_out", *room.call_hand_out(entry, BOB)) == 0
    assert room.run("hand_out", *room.call_hand_out(entry, BOB)) == "gone"
    assert len(hand_out(room)) == 1


def test_a_report_of_another_chain_leads_nowhere(room: Shard) -> None:
    fail(room, say(room))
    come_online(room)
    report = room.put("delivery_report", BOB, event="message", status="200", of="1-1", catch_up="more")
    assert room.run("resume_catch_up", *room.command("resume_catch_up", report, BOB)) == "done"
    assert len(items(room)) == 1


def test_a_member_who_goes_away_while_catching_up_keeps_its_place(room: Shard) -> None:
    """It is away again from the first message that it did not get."""
    missed = [say(room) for _ in range(3)]
    fail(room, missed[0])
    come_online(room)
    hand_out(room)
    room.redis.xtrim(OUT, maxlen=0)
    for failed in missed[1:]:
        fail(room, failed, status="away")
    come_online(room)
    assert [found[1] for found in hand_out(room)] == missed[1:]


def test_a_member_who_is_away_can_be_removed_meanwhile(room: Shard) -> None:
    fail(room, say(room))
    come_online(room)
    ((entry, _),) = items(room)
    room.redis.hdel(room.keys.members(SHARD, ROOM), BOB)
    room.redis.hdel(room.keys.room(SHARD, ROOM), f"away:{BOB}", f"returning:{BOB}")
    assert room.run("hand_out", *room.call_hand_out(entry, BOB)) == 0
    assert BOB not in room.members()


def test_an_invitation_that_finds_nobody_is_sent_again(room: Shard) -> None:
    """When the user is back. The new event can fail in its turn."""
    invited = room.ask("invite", ALICE, user=DAVE)
    of = about(room, "invitation", DAVE)
    assert of
    room.report("mark_away", "invited", DAVE, "480", user=ALICE, of=of)
    assert room.members()[DAVE] == "invited"
    come_online(room, DAVE)
    ((entry, _),) = items(room)
    assert room.run("hand_out", *room.call_hand_out(entry, DAVE)) == 0
    ((again, fields),) = items(room)
    assert (fields["event"], fields["to"], fields["from"], fields["user"]) == ("invited", DAVE, ALICE, DAVE)
    assert about(room, "invitation", DAVE) == again
    assert [about(room, kind, DAVE) for kind in ("away", "inviter")] == [None, None]
    assert invited[-1].event == "invited"


def test_an_inviter_who_was_forgotten_meanwhile_is_not_named(room: Shard) -> None:
    """The room itself invites from then on."""
    room.ask("invite", ALICE, user=DAVE)
    of = about(room, "invitation", DAVE)
    room.redis.set(keys.forgotten(SHARD, ALICE), 1)
    room.report("mark_away", "invited", DAVE, "480", user=ALICE, of=of or "")
    assert about(room, "inviter", DAVE) == ROOM
    come_online(room, DAVE)
    ((entry, _),) = items(room)
    assert room.run("hand_out", *room.call_hand_out(entry, DAVE)) == 0
    ((_, fields),) = items(room)
    assert (fields["event"], fields["to"], fields["from"]) == ("invited", DAVE, ROOM)


def test_an_old_invitation_that_fails_changes_nothing(room: Shard) -> None:
    room.ask("invite", ALICE, user=DAVE)
    room.report("mark_away", "invited", DAVE, "480", user=ALICE, of="1-1")
    assert about(room, "away", DAVE) is None


def test_what_was_missed_comes_in_the_form_that_the_client_needs(room: Shard) -> None:
    """As it would have come at once; and the client stays known."""
    say(room, BOB, cpim="1")
    fail(room, say(room))
    assert room.members()[BOB] == "member cpim away"
    come_online(room)
    room.redis.xtrim(OUT, maxlen=1)
    hand_out(room)
    assert [fields["client"] for _, fields in items(room) if fields["event"] == "message"] == ["cpim"]
    assert room.members()[BOB] == "member cpim"
