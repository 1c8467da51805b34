"""probe_users and welcome_back: how a member who was away and says nothing is found to be back."""

from __future__ import annotations

import pytest

from imc_common import keys
from imc_common.rooms.history import too_old
from imc_edge.delivering.absence import parse
from tests.lua.shard import ALICE, BOB, CAROL, DAVE, OUT, ROOM, SHARD, Shard
from tests.lua.test_catch_up import about, fail, items, room, say

__all__ = ["room"]

PROBES, WAITS = keys.probes(SHARD), keys.probe_waits(SHARD)


def probe(shard: Shard, user: str = BOB) -> list[dict[str, str]]:
    """The probe of this user is due; what the edge gets to send."""
    shard.redis.zadd(PROBES, {user: 1})
    shard.redis.xtrim(OUT, maxlen=0)
    count = shard.run("probe_users", *shard.call_probes())
    found = [fields for _, fields in items(shard)]
    assert count == len(found)
    return found


def accept(shard: Shard, history_id: str, user: str = BOB, status: str = "200") -> None:
    """The probe with this message did not find the user away."""
    shard.redis.xtrim(OUT, maxlen=0)
    fields = {
        "event": "message",
        "status": status,
        "history_id": history_id,
        "catch_up": "probe",
        "user": ALICE,
    }
    report = shard.put("delivery_report", user, **fields)
    assert shard.run("welcome_back", *shard.command("welcome_back", report, user)) == "done"


def test_a_probe_is_the_first_missed_message(room: Shard) -> None:
    """To this user alone; the edge reports its end."""
    missed = [say(room), say(room)]
    fail(room, missed[0])
    (sent,) = probe(room)
    assert (sent["event"], sent["to"], sent["from"], sent["room"]) == ("message", BOB, ALICE, ROOM)
    assert (sent["history_id"], sent["catch_up"], sent["wait"]) == (missed[0], "probe", "4000")
    joined = room.redis.hget(room.keys.room(SHARD, ROOM), f"joined:{BOB}").decode()
    assert (sent["since"], sent["joined"]) == (missed[0], joined)


def test_the_waits_double_up_to_ten_minutes(room: Shard) -> None:
    """With some jitter, so that users do not stay together."""
    fail(room, say(room))
    waits = []
    for _ in range(10):
        (sent,) = probe(room)
        waits.append(int(room.redis.hget(WAITS, BOB) or 0))
        assert (sent["event"], waits[-1] % 2) in {("message", 0), ("idle", 1)}
        seconds, microseconds = room.redis.time()
        ahead = room.redis.zscore(PROBES, BOB) - 1000 * float(seconds) - float(microseconds) / 1000
        assert waits[-1] - 5000 < ahead <= 1.25 * waits[-1]
    assert [wait - wait % 2 for wait in waits] == [4000 * 2**n for n in range(8)] + [600_000] * 2


def test_nobody_is_probed_before_time(room: Shard) -> None:
    fail(room, say(room))
    assert room.run("probe_users", *room.call_probes()) == 0
    assert items(room) == []


def test_a_probe_that_was_planned_while_the_clock_was_ahead_is_due(room: Shard) -> None:
    """By an hour, which is more than any wait. It must not take that hour until the user is found."""
    fail(room, say(room))
    room.redis.zincrby(PROBES, 3_600_000, BOB)
    assert room.run("probe_users", *room.call_probes()) == 1
    assert [fields["to"] for _, fields in items(room)] == [BOB]
    assert room.run("probe_users", *room.call_probes()) == 0


def test_only_so_many_are_probed_at_once(room: Shard) -> None:
    """Those that are due for longest."""
    missed = say(room)
    for due, user in ((2, BOB), (1, CAROL)):
        fail(room, missed, user)
        room.redis.zadd(PROBES, {user: due})
    assert room.run("probe_users", *room.call_probes(max_probes=1)) == 1
    assert [fields["to"] for _, fields in items(room)] == [CAROL]


def test_an_accepted_probe_brings_the_rest(room: Shard) -> None:
    """What follows the probed message is asked for, in this room and in others."""
    missed = [say(room), say(room)]
    fail(room, missed[0])
    probe(room)
    accept(room, missed[0])
    ((entry, item),) = items(room)
    assert (item["event"], item["to"]) == ("catch_up", BOB)
    assert room.run("hand_out", *room.call_hand_out(entry, BOB)) == 1
    assert [fields["history_id"] for _, fields in items(room)] == [missed[1]]


def test_who_catches_up_is_not_probed(room: Shard) -> None:
    """Unless what leads on got lost."""
    fail(room, say(room))
    accept(room, "0-1")
    room.redis.zadd(PROBES, {BOB: 1})
    assert room.run("probe_users", *room.call_probes()) == 0
    assert room.redis.zscore(PROBES, BOB) > 1
    assert len(probe(room)) == 1


def test_a_member_who_has_missed_nothing_is_not_away(room: Shard) -> None:
    """Its own messages do not count. The next live message will tell."""
    fail(room, say(room, BOB))
    assert probe(room) == []
    assert room.members()[BOB] == "member"
    assert not room.redis.exists(PROBES, WAITS, keys.away_rooms(SHARD, BOB))


def test_after_an_absence_of_which_nothing_is_left_probes_say_so(room: Shard) -> None:
    """An edge remembers the message that failed, and would not send a later one before it."""
    fail(room, first := say(room))
    room.redis.xdel(room.keys.history(SHARD, ROOM), first)
    assert probe(room) == []
    ended = about(room, "ended")
    assert ended is not None
    fail(room, second := say(room), status="away")
    (sent,) = probe(room)
    assert (sent["since"], sent["joined"]) == (second, ended)
    assert parse(first) < parse(ended) < parse(second)


@pytest.mark.parametrize(("ahead", "probes"), [(0, 1), (30 * 86_400, 1)])
def test_a_wrong_clock_of_a_worker_hides_no_message_from_probes(room: Shard, ahead: int, probes: int) -> None:
    """Redis's clock has to say as well that a message is too old."""
    fail(room, say(room))
    now = int(room.redis.time()[0])
    room.settings |= dict(zip(("oldest_ms", "max_age_ms"), too_old(3600.0, now + ahead), strict=True))
    assert len(probe(room)) == probes


def test_a_member_whose_missed_messages_are_too_old_stays_away(room: Shard) -> None:
    """So that a long absence is known; a new message is a probe again."""
    room.send_away(BOB, since="5-1")
    room.redis.sadd(keys.away_rooms(SHARD, BOB), ROOM)
    room.settings |= {"oldest_ms": 1000, "max_age_ms": 1}
    assert probe(room) == []
    assert about(room, "away") == "5-1"
    missed = say(room)
    assert [sent["history_id"] for sent in probe(room)] == [missed]


def test_without_history_nobody_stays_away(room: Shard) -> None:
    fail(room, say(room))
    room.settings["history_max_messages"] = 0
    assert probe(room) == []
    assert room.members()[BOB] == "member"


@pytest.mark.parametrize("planted", ["history", "away_rooms"])
def test_a_key_of_a_wrong_type_does_not_stop_the_probes_of_others(room: Shard, planted: str) -> None:
    other = "chat-001@example.org"
    room.ask("create", ALICE, other)
    room.ask("add", ALICE, other, user=DAVE)
    fail(room, say(room, room=other), DAVE, room=other)
    fail(room, say(room))
    key = room.keys.history(SHARD, other) if planted == "history" else keys.away_rooms(SHARD, DAVE)
    room.redis.delete(key)
    room.redis.set(key, "planted")
    room.redis.zadd(PROBES, {DAVE: 1})
    assert [sent["to"] for sent in probe(room)] == [BOB]
    assert room.redis.zscore(PROBES, DAVE) > 1


def test_an_invitation_is_a_probe_of_its_own(room: Shard) -> None:
    """If it fails again, the wait is doubled as for a message."""
    room.ask("invite", ALICE, user=DAVE)
    for wait in (2000, 4000, 8000):
        of = about(room, "invitation", DAVE)
        assert of
        room.redis.xtrim(OUT, maxlen=0)
        room.report("mark_away", "invited", DAVE, "480", user=ALICE, of=of)
        assert room.redis.hget(WAITS, DAVE) == str(wait).encode()
        assert [sent["event"] for sent in probe(room, DAVE)] == ["invited"]
    assert probe(room, DAVE) == []
    assert not room.redis.exists(PROBES, WAITS)
