"""settle and settle_delivered: what becomes of an event and of each of its deliveries."""

from typing import Any

import pytest

from imc_common import keys
from tests.lua.shard import ALICE, BOB, CAROL, IN, OUT, ROOM, SHARD, Shard, decoded, entries, put_event

UNDELIVERED = keys.undelivered(SHARD)


def settle(shard: Shard, entry_id: str, *outcomes: Any, complete: bool = False, kept: int = 1000) -> str:
    """Runs settle; outcomes are recipient, status, report in turn."""
    args = [entry_id, int(complete), 60000, kept, "c1", *outcomes]
    return str(shard.run("settle", [OUT, IN, keys.settled(SHARD, entry_id), UNDELIVERED], args))


def test_settle_keeps_the_recipients_of_an_incomplete_event(shard: Shard) -> None:
    """For a while; the event stays."""
    entry_id = put_event(shard, BOB, CAROL)
    assert settle(shard, entry_id, BOB, "200", 0) == "done"
    assert decoded(shard.redis.smembers(keys.settled(SHARD, entry_id))) == {BOB}
    assert 20_000 < shard.redis.pttl(keys.settled(SHARD, entry_id)) <= 60000
    assert len(entries(shard, OUT)) == 1
    assert entries(shard, UNDELIVERED) == entries(shard, IN) == []


def test_settle_deletes_a_complete_event(shard: Shard) -> None:
    """Nothing of it is left."""
    entry_id = put_event(shard, BOB, CAROL)
    settle(shard, entry_id, BOB, "200", 0)
    assert settle(shard, entry_id, CAROL, "202", 0, complete=True) == "done"
    assert entries(shard, OUT) == []
    assert not shard.redis.exists(keys.settled(SHARD, entry_id))


def test_settle_appends_a_report_that_the_worker_must_act_on(shard: Shard) -> None:
    """A request of type delivery_report, and an entry of undelivered without data."""
    entry_id = put_event(shard, BOB)
    settle(shard, entry_id, BOB, "404", 1, complete=True)
    failure = {
        "event": "invited", "from": BOB, "room": ROOM, "user": ALICE, "status": "404", "of": entry_id,
    }  # fmt: skip
    assert entries(shard, UNDELIVERED) == [{**failure, "call_id": "c1"}]
    assert entries(shard, IN) == [{**failure, "type": "delivery_report", "data": "\x81"}]


@pytest.mark.parametrize("status", ["200", "480", "away"])
def test_the_report_of_a_message_names_its_place_and_leaves_its_body_out(shard: Shard, status: str) -> None:
    """A worker may also wait for a 2xx. What was not even sent is no failure to look into."""
    fields = {"event": "message", "room": ROOM, "from": ALICE, "to": BOB, "data": "\x81", "history_id": "1-5"}
    entry_id = str(decoded(shard.redis.xadd(OUT, {**fields, "catch_up": "more"})))
    settle(shard, entry_id, BOB, status, 1, complete=True)
    assert entries(shard, IN) == [
        {
            "type": "delivery_report", "event": "message", "from": BOB, "room": ROOM, "user": ALICE,
            "status": status, "of": entry_id, "history_id": "1-5", "catch_up": "more", "data": "",
        }
    ]  # fmt: skip
    assert len(entries(shard, UNDELIVERED)) == (status == "480")


def test_a_live_message_is_named_by_its_own_id(shard: Shard) -> None:
    """It is the id of its place in the history."""
    entry_id = put_event(shard, BOB, name="message")
    settle(shard, entry_id, BOB, "480", 1, complete=True)
    (report,) = entries(shard, IN)
    assert (report["history_id"], report["catch_up"]) == (entry_id, "")


def test_a_failed_probe_is_not_kept_as_a_failure(shard: Shard) -> None:
    """Probes fail until the user is back: they would push all other failures out."""
    fields = {"event": "message", "room": ROOM, "from": ALICE, "to": BOB, "data": "", "catch_up": "probe"}
    settle(shard, str(decoded(shard.redis.xadd(OUT, fields))), BOB, "480", 1, complete=True)
    assert (len(entries(shard, IN)), entries(shard, UNDELIVERED)) == (1, [])


def test_the_report_of_a_bye_has_the_dialog(shard: Shard) -> None:
    """Nothing else has it: the device is out of the room."""
    about = {
        "event": "bye",
        "room": ROOM,
        "from": ROOM,
        "to": BOB,
        "data": "",
        "dialog": "d",
        "catch_up": "probe",
    }
    entry = str(decoded(shard.redis.xadd(OUT, about)))  # type: ignore[arg-type]
    settle(shard, entry, BOB, "480", 1, complete=True)
    ((_, report),) = decoded(shard.redis.xrange(IN))
    assert (report["dialog"], report["catch_up"], report["of"]) == ("d", "probe", entry)


def test_an_invite_that_was_withdrawn_is_no_failure(shard: Shard) -> None:
    settle(shard, put_event(shard, BOB, name="invite"), BOB, "withdrawn", 0, complete=True)
    assert entries(shard, UNDELIVERED) == entries(shard, IN) == []


def test_settle_keeps_a_failure_without_a_report(shard: Shard) -> None:
    settle(shard, put_event(shard, BOB), BOB, "500", 0, complete=True)
    assert len(entries(shard, UNDELIVERED)) == 1
    assert entries(shard, IN) == []


def test_settle_counts_each_recipient_once(shard: Shard) -> None:
    """A second report, before or with the end of the event, adds nothing."""
    entry_id = put_event(shard, BOB, CAROL)
    settle(shard, entry_id, BOB, "404", 1)
    settle(shard, entry_id, BOB, "404", 1)
    settle(shard, entry_id, BOB, "408", 1, CAROL, "200", 0, complete=True)
    assert len(entries(shard, UNDELIVERED)) == len(entries(shard, IN)) == 1


def test_settle_of_a_complete_event_changes_nothing(shard: Shard) -> None:
    entry_id = put_event(shard, BOB)
    settle(shard, entry_id, BOB, "200", 0, complete=True)
    before = shard.dump()
    assert settle(shard, entry_id, BOB, "404", 1, complete=True) == "gone"
    assert settle(shard, entry_id, BOB, "404", 1) == "gone"
    assert shard.dump() == before


def test_undelivered_is_bounded(real_shard: Shard) -> None:
    """Redis trims the oldest in nodes of 100 entries."""
    for _ in range(5):
        outcomes = [word for number in range(100) for word in (f"user{number}@x", "500", 0)]
        settle(real_shard, put_event(real_shard, "all@x"), *outcomes, complete=True, kept=100)
    assert 100 <= real_shard.redis.xlen(UNDELIVERED) <= 200


def test_settle_delivered_deletes_many_events(shard: Shard) -> None:
    """Those that no longer exist are no error."""
    ids = [put_event(shard, BOB) for _ in range(3)]
    assert shard.run("settle_delivered", [OUT], [*ids, "1-1"]) == 3
    assert entries(shard, OUT) == []
    assert shard.run("settle_delivered", [OUT], ids) == 0


def test_settle_delivered_takes_more_ids_than_lua_can_unpack(real_shard: Shard) -> None:
    pipeline = real_shard.redis.pipeline(transaction=False)
    for number in range(2500):
        pipeline.xadd(OUT, {"event": "message"}, id=f"1-{number + 1}")
    ids = decoded(pipeline.execute())
    assert real_shard.run("settle_delivered", [OUT], ids) == 2500
    assert real_shard.redis.xlen(OUT) == 0


@pytest.mark.parametrize("who", [BOB, f"{BOB};gr=urn:uuid:1"])
def test_failures_of_a_forgotten_user_leave_no_record(shard: Shard, who: str) -> None:
    """Neither what is on its way to the user, nor what the user has sent. Reports are written as ever."""
    shard.redis.set(keys.forgotten(SHARD, BOB), 1)
    settle(shard, put_event(shard, who, name="you_were_removed"), who, "480", 1, complete=True)
    fields = {"event": "message", "room": ROOM, "from": BOB, "to": CAROL, "data": "\x81"}
    settle(shard, str(decoded(shard.redis.xadd(OUT, fields))), CAROL, "480", 1, complete=True)
    assert entries(shard, UNDELIVERED) == []
    assert len(entries(shard, IN)) == 2
    settle(shard, put_event(shard, CAROL), CAROL, "480", 0, complete=True)
    assert [entry["from"] for entry in entries(shard, UNDELIVERED)] == [CAROL]
