"""What devices in a room get and send: messages, typing notifications, receipts, answers."""

from __future__ import annotations

import pytest

from imc_common import keys
from tests.lua.conference import (
    BOBS,
    BOBS_OTHER,
    CAROLS,
    PHONE,
    about,
    accept,
    devices,
    events,
    handle,
    named,
    opened,
    report,
)
from tests.lua.shard import ALICE, BOB, CAROL, DAVE, OUT, ROOM, SHARD, Shard, decoded, entries

BOTH = [f"{BOBS};aor", f"{BOBS_OTHER};aor"]


@pytest.fixture
def room(shard: Shard) -> Shard:
    """Alice's phone, two devices of Bob, and Dave, who has a client of texts."""
    shard.settings["history_max_messages"] = 0
    opened(shard, BOB)
    for device in (BOBS, BOBS_OTHER):
        accept(shard, device)
    handle(shard, "add", ALICE, user=DAVE)
    events(shard)
    shard.settings["history_max_messages"] = 500
    return shard


def told(shard: Shard, name: str) -> list[tuple[list[str], str]]:
    """Recipients and kind of client of the events with this name."""
    return [(sorted(to.split()), more.get("client", "")) for to, more in named(shard, name)]


@pytest.mark.parametrize("together", [True, False])
def test_a_message_goes_to_every_other_device_and_member_once(room: Shard, together: bool) -> None:
    """All of them have the same place in the history."""
    ids = [room.put("message", BOB, device=BOBS, cpim="1") for _ in range(2)]
    if together:
        assert room.together(ids) == 2
    else:
        for entry in ids:
            command = room.command("broadcast_message", entry, BOB)
            assert room.run("broadcast_message", *command) == "done"
    found = [
        (fields["to"].split(), fields.get("client", ""), fields.get("history_id", entry))
        for entry, fields in decoded(room.redis.xrange(OUT))
        if fields["event"] == "message"
    ]
    kept = [entry for entry, _ in decoded(room.redis.xrange(room.keys.history(SHARD, ROOM)))]
    assert [(sorted(to), client, place) for to, client, place in found] == [
        each for place in kept for each in (([DAVE], "", place), (sorted([PHONE, BOTH[1]]), "device", place))
    ]
    assert room.members()[BOB] == "member devices"


def test_what_a_member_says_with_another_client_goes_to_all_its_devices(room: Shard) -> None:
    handle(room, "message", BOB)
    assert told(room, "message") == [([DAVE], ""), (sorted([PHONE, *BOTH]), "device")]


@pytest.mark.parametrize("user", [ALICE, BOB])
@pytest.mark.parametrize("together", [True, False])
def test_what_a_device_that_does_not_name_itself_says_goes_to_all_of_its_user(
    room: Shard, user: str, together: bool
) -> None:
    """It was invited by its user's address, sends with that, and drops the echo by its Message-ID.

    Also if only one is in the room: another one may have sent the message, which is let in a moment later.
    """
    entry = room.put("message", user, cpim="1")
    if together:
        assert room.together([entry]) == 1
    else:
        assert room.run("broadcast_message", *room.command("broadcast_message", entry, user)) == "done"
    assert told(room, "message")[-1] == (sorted([PHONE, *BOTH]), "device")


def test_a_device_that_is_away_gets_later_what_another_one_has_said(room: Shard) -> None:
    """Neither names itself, so nothing shows that this one is back."""
    handle(room, "message", DAVE)
    ((_, more),) = named(room, "message")
    of = more["id"]
    report(room, "mark_away", BOTH[0], "480", event="message", history_id=of, user=DAVE)
    handle(room, "message", BOB, cpim="1")
    assert told(room, "message")[-1] == (sorted([PHONE, BOTH[1]]), "device")
    assert devices(room)[BOTH[0]] == "device away"
    entry_id = room.put("user_online", BOB, BOB)
    assert room.run("call_user_back", *room.call_online(entry_id, BOB)) == "done"
    ((to, more),) = named_kept(room, "catch_up")
    assert room.run("hand_out", *room.call_hand_out(more["id"], to)) == 2


def test_a_message_that_is_not_kept_reaches_devices_too(room: Shard) -> None:
    handle(room, "message", DAVE, kept_ms="0")
    ((to, more),) = named(room, "message")
    assert (sorted(to.split()), more["history_id"], more["client"]) == (sorted([PHONE, *BOTH]), "-", "device")


def test_a_device_that_is_away_is_passed_over(room: Shard) -> None:
    """Its user is not away. What it missed is handed to it when it sends, without what it has sent itself."""
    handle(room, "message", DAVE)
    (of,) = [more["id"] for _, more in named(room, "message")]
    report(room, "mark_away", BOTH[0], "480", event="message", history_id=of, user=DAVE)
    assert (devices(room)[BOTH[0]], room.members()[BOB]) == ("device away", "member devices")
    assert decoded(room.redis.smembers(keys.away_rooms(SHARD, BOB))) == {f"{ROOM} {BOTH[0]}"}
    assert decoded(room.redis.zrange(keys.probes(SHARD), 0, -1)) == [BOB]
    handle(room, "message", BOB, device=BOBS_OTHER)
    assert told(room, "message") == [([DAVE], ""), ([PHONE], "device")]
    handle(room, "message", BOB, device=BOBS)  # it is back
    ((to, more),) = named_kept(room, "catch_up")
    assert to == BOTH[0]
    assert room.run("hand_out", *room.call_hand_out(more["id"], to)) == 2
    assert [(to, more["from"], more["client"]) for to, more in named(room, "message")[-2:]] == [
        (BOTH[0], DAVE, "device"),
        (BOTH[0], BOB, "device"),
    ]
    assert devices(room)[BOTH[0]] == "device"
    assert not room.redis.exists(keys.away_rooms(SHARD, BOB), keys.probes(SHARD))


def test_no_device_is_away_in_a_room_that_keeps_nothing_any_more(room: Shard) -> None:
    """Nobody would find out that it is back. The next message reaches it."""
    handle(room, "message", DAVE)
    (of,) = [more["id"] for _, more in named(room, "message")]
    for device in BOTH:
        report(room, "mark_away", device, "480", event="message", history_id=of, user=DAVE, catch_up="part")
    handle(room, "set", ALICE, text="off")
    assert set(devices(room).values()) == {"device"}
    assert {about(room, kind, BOTH[0]) for kind in ("away", "returning", "refused")} == {None}
    events(room)
    handle(room, "message", DAVE)
    assert told(room, "message") == [(sorted([PHONE, *BOTH]), "device")]


def named_kept(shard: Shard, name: str) -> list[tuple[str, dict[str, str]]]:
    """Recipients and fields of the events with this name, which stay."""
    return [
        (fields["to"], fields | {"id": entry})
        for entry, fields in decoded(shard.redis.xrange(OUT))
        if fields["event"] == name
    ]


def test_a_device_is_probed_with_what_it_missed(room: Shard) -> None:
    """The accepted probe leads on in the same way as for a member."""
    for _ in range(2):
        handle(room, "message", DAVE)
    first, second = [more["id"] for _, more in named(room, "message")]
    report(room, "mark_away", BOTH[0], "408", event="message", history_id=first, user=DAVE)
    room.redis.zadd(keys.probes(SHARD), {BOB: 1})
    assert room.run("probe_users", *room.call_probes()) == 1
    ((to, more),) = named(room, "message")
    assert (to, more["history_id"], more["client"], more["catch_up"]) == (BOTH[0], first, "device", "probe")
    report(
        room, "welcome_back", BOTH[0], "200", event="message", history_id=first, user=DAVE, catch_up="probe"
    )
    ((to, more),) = named_kept(room, "catch_up")
    assert room.run("hand_out", *room.call_hand_out(more["id"], to)) == 1
    assert [(to, more["history_id"]) for to, more in named(room, "message")] == [(BOTH[0], second)]
    assert set(devices(room).values()) == {"device"}


def test_a_late_failure_of_a_text_does_not_send_the_devices_away(room: Shard) -> None:
    """The user had another client before."""
    report(room, "mark_away", BOB, "480", event="message", history_id="1-1", user=DAVE)
    assert room.members()[BOB] == "member devices"
    assert about(room, "away", BOB) is None


def send_device_away(room: Shard, device: str, days: int) -> None:
    """The device could not be reached since then."""
    at = int(float(room.redis.time()[0])) - days * 24 * 3600
    room.redis.hset(keys.devices(SHARD, ROOM), device, "device away")
    room.redis.hset(room.keys.room(SHARD, ROOM), f"away:{device}", f"{at}000-0")


def test_who_has_only_devices_that_are_away_for_too_long_is_removed(room: Shard) -> None:
    """One that is here, or is being handed what it missed, or is away for less time keeps its user."""
    room.settings["remove_after_days"] = 7
    send_device_away(room, BOTH[0], 30)
    handle(room, "remove_absent", BOB)
    assert BOB in room.members()
    send_device_away(room, BOTH[1], 6)
    handle(room, "remove_absent", BOB)
    assert BOB in room.members()
    send_device_away(room, BOTH[1], 8)
    leading = decoded(room.redis.xadd(OUT, {"event": "catch_up", "to": BOTH[1], "room": ROOM}))
    room.redis.hset(room.keys.room(SHARD, ROOM), f"returning:{BOTH[1]}", leading)
    handle(room, "remove_absent", BOB)
    assert BOB in room.members()
    room.redis.xdel(OUT, leading)
    handle(room, "remove_absent", BOB)
    assert BOB not in room.members()
    assert list(devices(room)) == [PHONE]


def test_a_long_absence_of_a_device_is_handed_out_in_parts(room: Shard) -> None:
    room.settings["catch_up_max"] = 11
    for _ in range(13):
        handle(room, "message", DAVE)
    missed = [more["id"] for _, more in named(room, "message")]
    report(room, "mark_away", PHONE, "480", event="message", history_id=missed[0], user=DAVE)
    entry_id = room.put("user_online", ALICE, ALICE)
    assert room.run("call_user_back", *room.call_online(entry_id, ALICE)) == "done"
    ((to, more),) = named_kept(room, "catch_up")
    assert room.run("hand_out", *room.call_hand_out(more["id"], to)) == 10
    found = events(room)
    assert [(name, to, more["client"]) for name, to, more in found[:1]] == [("skipped", PHONE, "device")]
    report(room, "resume_catch_up", PHONE, "200", event="message", of=found[-1][2]["id"], catch_up="more")
    ((to, more),) = named_kept(room, "catch_up")
    assert room.run("hand_out", *room.call_hand_out(more["id"], to)) == 1
    assert devices(room)[PHONE] == "device"


def test_typing_reaches_the_other_devices(room: Shard) -> None:
    handle(room, "typing", BOB, device=BOBS)
    assert told(room, "typing") == [([DAVE], ""), (sorted([PHONE, BOTH[1]]), "device")]


def test_a_receipt_goes_to_the_devices_of_the_author(room: Shard) -> None:
    """Not to devices of other members."""
    handle(room, "message", BOB, device=BOBS, message_id="m1")
    events(room)
    handle(room, "disposition", ALICE, device=PHONE, message_id="m1 -")
    assert told(room, "disposition") == [(sorted(BOTH), "device")]


def test_an_operators_notice_reaches_devices(room: Shard) -> None:
    handle(room, "message", "operator@example.org", operator="1")
    assert told(room, "notice") == [([DAVE], ""), (sorted([PHONE, *BOTH]), "device")]


def test_the_history_is_shown_to_the_device_that_asks(room: Shard) -> None:
    handle(room, "message", DAVE)
    events(room)
    handle(room, "history", BOB, device=BOBS, text="5")
    assert [(to, more["client"]) for to, more in named(room, "message")] == [(BOTH[0], "device")]


@pytest.mark.parametrize(("script", "event"), [("note_client", "message")])
def test_a_client_of_texts_does_not_replace_devices(room: Shard, script: str, event: str) -> None:
    report(room, script, BOB, "200-as-text", event=event)
    assert room.members()[BOB] == "member devices"


def test_who_was_invited_by_a_device_speaks_before_it_accepts(room: Shard) -> None:
    """With another client; it gets nothing until its client has responded to the INVITE."""
    handle(room, "add", ALICE, user=CAROL, dialog='{"call_id":"x"}')
    handle(room, "message", CAROL, cpim="1")
    assert room.members()[CAROL] == "member inviting"
    events(room)
    handle(room, "message", DAVE)
    assert CAROL not in " ".join(fields["to"] for fields in entries(room, OUT))
    accept(room, CAROLS)
    assert about(room, "away", f"{CAROLS};aor") == about(room, "joined", CAROL)


def test_a_plain_room_reads_no_devices(real_shard: Shard) -> None:
    """A message costs the same commands as before there were devices."""
    real_shard.ask("create", ALICE)
    real_shard.ask("add", ALICE, user=BOB)
    entry = real_shard.put("message", ALICE)
    real_shard.redis.config_resetstat()
    assert real_shard.together([entry]) == 1
    calls = {name: about["calls"] for name, about in real_shard.redis.info("commandstats").items()}
    assert (calls["cmdstat_hgetall"], calls["cmdstat_xadd"]) == (1, 1)
    assert not {"cmdstat_hlen", "cmdstat_hexists", "cmdstat_hkeys"} & calls.keys()
