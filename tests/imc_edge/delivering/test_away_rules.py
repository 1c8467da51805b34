"""Deliveries to recipients that are away, that come back, or that leave: what is sent, in which order.

Also covers `Recipient.end`, `Courier.send_again`, `Deliver.presence` and what `settlement.py` reports.
"""

from __future__ import annotations

from typing import Any

import pytest

from imc_common import keys
from imc_edge.delivering.absence import KNOWN_SECONDS
from tests.imc_edge.delivering.test_deliver import BOB, CAROL, bodies, text
from tests.imc_edge.sending import Sending, entry, on_loopback

OTHER_ROOM = "chat-001@example.org"


def keeping_history(**settings: Any) -> Sending:
    """An edge of a service whose rooms keep messages."""
    return Sending(on_loopback(history_max_messages=500, **settings))


async def say(sending: Sending, body: str, **fields: Any) -> str:
    """A message to bob; its id."""
    return await sending.event(to=(BOB,), data=text(body), **fields)


async def stored(sending: Sending, position: str, catch_up: str, **fields: Any) -> str:
    """A message from the history to bob, whose body is its position."""
    return await say(sending, position, history_id=position, catch_up=catch_up, **fields)


def outcomes(sending: Sending) -> list[tuple[Any, ...]]:
    """Status and report of each delivery to bob that was recorded one by one, in order."""
    return [args[6:8] for args in sending.redis.of("settle") if args[5] == BOB]


def got(sending: Sending) -> list[bytes]:
    """What was sent to bob, in order."""
    return bodies(sending.wires.sent, BOB)


@pytest.mark.parametrize("status", [404, 408, 410, 430, *range(473, 481), 500, 502, 503, 504, 604])
async def test_when_nobody_is_there_all_that_waits_fails_in_order(status: int) -> None:
    """The worker gets a report for each: the first one is the member's position."""
    async with keeping_history() as sending:
        for number in range(3):
            await say(sending, f"m{number}")
        await sending.reply(sending.wires.sent[0], status)
        assert got(sending) == [b"m0"]
        assert outcomes(sending) == [(str(status), "1"), ("away", "1"), ("away", "1")]
        assert [args[0] for args in sending.redis.of("settle")] == ["1-0", "2-0", "3-0"]


@pytest.mark.parametrize("status", [403, 415, 486, 488, 603, 606])
async def test_a_refusal_concerns_one_message_only(status: int) -> None:
    """The recipient is there, and gets the next one."""
    async with keeping_history() as sending:
        for number in range(2):
            await say(sending, f"m{number}")
        await sending.reply(sending.wires.sent[0], status)
        assert got(sending) == [b"m0", b"m1"]
        assert outcomes(sending) == [(str(status), "1" if status == 488 else "0")]


async def test_a_room_without_history_is_treated_as_without_history_at_all() -> None:
    """What fails there is lost, so what follows is tried."""
    async with keeping_history() as sending:
        for number in range(2):
            await say(sending, f"m{number}", history_id="-")
        await sending.reply(sending.wires.sent[0], 480)
        assert got(sending) == [b"m0", b"m1"]
        assert outcomes(sending) == [("480", "0")]


async def test_an_away_user_is_noted_before_its_report_and_once_more_after() -> None:
    """So the note is there while the report is, whatever comes in between."""
    async with keeping_history() as sending:
        await say(sending, "m0")
        await sending.reply(sending.wires.sent[0], 480)
        note = ("SADD", (keys.away_shards(BOB),), (3,))
        ran = [each if each[0] == "SADD" else each[0] for each in sending.redis.ran]
        assert ran == [note, "settle", note]


async def test_a_user_who_did_not_get_an_invitation_is_noted_too() -> None:
    """It gets the invitation when it is back."""
    async with keeping_history() as sending:
        await sending.event("invited", (BOB,))
        await sending.reply(sending.wires.sent[0], 480)
        assert [each[0] for each in sending.redis.ran] == ["SADD", "settle", "SADD"]


async def test_while_redis_is_unreachable_neither_note_nor_report_is_lost() -> None:
    """Both are written when it is back."""
    async with keeping_history() as sending:
        await say(sending, "m0")
        sending.redis.unreachable = True
        await sending.reply(sending.wires.sent[0], 480)
        assert sending.redis.ran == []
        sending.redis.unreachable = False
        await sending.until(lambda: len(sending.redis.ran) == 3)
        assert [each[0] for each in sending.redis.ran] == ["SADD", "settle", "SADD"]


async def test_what_comes_while_a_user_is_away_ends_unsent_in_every_room() -> None:
    """Notices are in no history: they are tried as before."""
    async with keeping_history() as sending:
        await say(sending, "m0")
        await sending.reply(sending.wires.sent[0], 480)
        await say(sending, "m1")
        await say(sending, "m2", room=OTHER_ROOM)
        await sending.event("invited", (BOB,), room=OTHER_ROOM)
        assert outcomes(sending)[1:] == [("away", "1"), ("away", "1")]
        assert len(sending.wires.sent) == 2
        assert 'imc_deliveries_total{outcome="away"} 2.0' in sending.metrics.page().decode()


async def test_after_a_while_messages_are_sent_again() -> None:
    """The worker may not know the member any more, and then nothing else would open the room."""
    async with keeping_history() as sending:
        await say(sending, "m0")
        await sending.reply(sending.wires.sent[0], 480)
        sending.clock.now += KNOWN_SECONDS
        await say(sending, "m1")
        assert got(sending) == [b"m0", b"m1"]


async def test_a_silent_recipient_is_away_too() -> None:
    """Timer F; what waits fails unsent."""
    async with keeping_history() as sending:
        await say(sending, "m0")
        await say(sending, "m1")
        await sending.pass_time(32.5)
        assert outcomes(sending) == [("408", "1"), ("away", "1")]


async def test_a_full_queue_closes_its_room_until_the_history_is_handed_out() -> None:
    """A later message must not arrive before the one that found no place."""
    async with keeping_history(recipient_queue=1) as sending:
        await say(sending, "m0")
        await sending.pass_time(0.7)
        for number in (1, 2):
            await say(sending, f"m{number}")
        assert outcomes(sending) == [("surplus", "1")]
        await sending.reply(sending.wires.sent[-1])
        await sending.reply(sending.wires.sent[-1])
        await say(sending, "m3")
        assert [*dict.fromkeys(got(sending))] == [b"m0", b"m1"]
        await stored(sending, "3-0", "part")
        assert got(sending)[-1] == b"3-0"


async def back_after_a_failure(sending: Sending) -> None:
    """Bob misses 1-0 and gives a sign."""
    await say(sending, "m0")
    await sending.reply(sending.wires.sent[0], 480)
    sending.deliver.presence(f"online {BOB}".encode())


async def test_the_history_comes_before_what_is_live() -> None:
    """In order, one in flight."""
    async with keeping_history() as sending:
        await back_after_a_failure(sending)
        await say(sending, "too early")
        for position, kind in (("1-0", "part"), ("2-0", "part")):
            await stored(sending, position, kind)
        await say(sending, "live")
        for _ in range(3):
            await sending.reply(sending.wires.sent[-1])
        assert got(sending) == [b"m0", b"1-0", b"2-0", b"live"]


async def test_the_same_message_has_the_same_identifiers_from_the_history() -> None:
    """A client that got it in spite of the failure recognises it."""
    async with keeping_history() as sending:
        await back_after_a_failure(sending)
        await stored(sending, "1-0", "part")
        first, again = [each.request for each in sending.wires.sent]
        assert first.call_id == again.call_id
        assert first.from_.tag == again.from_.tag
        assert first.cseq == again.cseq


@pytest.mark.parametrize("kind", ["part", "more", "probe", "replay"])
async def test_each_request_from_the_history_is_a_new_transaction(kind: str) -> None:
    """RFC 3261 §8.1.1.7. With the branch of the failed one, a proxy would respond as before (§17.2.3)."""
    async with keeping_history() as sending:
        await back_after_a_failure(sending)
        await stored(sending, "1-0", kind)
        await sending.reply(sending.wires.sent[-1], 480)
        sending.deliver.presence(f"online {BOB}".encode())
        await stored(sending, "1-0", kind)
        branches = [each.request.vias[0].branch for each in sending.wires.sent]
        assert len(branches) == 3
        assert len(set(branches)) == 3


async def test_a_failure_in_the_middle_of_the_history_ends_what_was_handed_out() -> None:
    """Also what had not been read from the stream by then."""
    async with keeping_history() as sending:
        await back_after_a_failure(sending)
        await stored(sending, "1-0", "part")
        await stored(sending, "2-0", "part")
        await sending.reply(sending.wires.sent[-1])
        await sending.reply(sending.wires.sent[-1], 480)
        sending.deliver.presence(f"online {BOB}".encode())
        await stored(sending, "3-0", "more")
        assert got(sending) == [b"m0", b"1-0", b"2-0"]
        assert outcomes(sending)[-1] == ("away", "1")


@pytest.mark.parametrize(("kind", "settled"), [("more", True), ("probe", True), ("part", False)])
async def test_the_worker_is_told_when_it_has_to_go_on(kind: str, settled: bool) -> None:
    """Of the last message of a part, and of a probe, whatever became of it."""
    async with keeping_history() as sending:
        await stored(sending, "1-0", kind)
        await sending.reply(sending.wires.sent[-1])
        assert outcomes(sending) == ([("200", "1")] if settled else [])


async def test_a_probe_is_sent_while_the_user_is_away_and_opens_the_way() -> None:
    """What follows from its 2xx is the worker's part; live messages of other rooms go out at once."""
    async with keeping_history() as sending:
        await say(sending, "m0")
        await sending.reply(sending.wires.sent[0], 480)
        sending.clock.now += 2
        await stored(sending, "1-0", "probe", wait=2000)
        await sending.reply(sending.wires.sent[-1])
        await say(sending, "m1", room=OTHER_ROOM)
        assert got(sending) == [b"m0", b"1-0", b"m1"]


@pytest.mark.parametrize(
    ("status", "opens"), [(200, True), (415, True), (488, True), (480, False), (503, False)]
)
async def test_whoever_responds_to_an_idle_itself_is_there(status: int, opens: bool) -> None:
    """Then the message that has failed can be tried again at once. The `idle` has an identity of its own."""
    async with keeping_history() as sending:
        await say(sending, "m0")
        await sending.reply(sending.wires.sent[0], 503)
        await sending.event(name="idle", to=(BOB,), catch_up="probe", since="1-0")
        idle = sending.wires.sent[-1].request
        assert idle.call_id != sending.wires.sent[0].request.call_id
        await sending.reply(sending.wires.sent[-1], status)
        await stored(sending, "1-0", "more", since="1-0")
        assert got(sending)[2:] == ([b"1-0"] if opens else [])
        assert outcomes(sending)[1] == (str(status), "1")


async def test_the_message_behind_one_that_has_just_failed_is_tried_at_once() -> None:
    """It brings what lies between, as far as this edge is concerned: that is never sent later."""
    async with keeping_history() as sending:
        await say(sending, "m0")
        await sending.reply(sending.wires.sent[0], 503)
        await stored(sending, "2-0", "probe", wait=0, since="1-0", more=1)
        await sending.reply(sending.wires.sent[-1])
        await stored(sending, "1-0", "part", since="1-0")
        assert got(sending) == [b"m0", b"2-0"]


async def test_a_probe_is_passed_over_while_something_is_in_flight_or_has_just_failed() -> None:
    """One probe per user and edge. It ends with an outcome that counts as no response."""
    async with keeping_history() as sending:
        await say(sending, "m0")
        await stored(sending, "0-9", "probe", wait=2000, room=OTHER_ROOM)
        await sending.reply(sending.wires.sent[0], 500)
        await stored(sending, "1-0", "probe", wait=4000)
        assert got(sending) == [b"m0"]
        assert outcomes(sending) == [("away", "1"), ("500", "1"), ("away", "1")]


async def test_what_a_probe_has_brought_is_not_sent_again_as_a_part() -> None:
    """Whether the part is read after the probe's response or waits behind it."""
    async with keeping_history() as sending:
        await say(sending, "m0")
        await sending.reply(sending.wires.sent[0], 480)
        sending.clock.now += 2
        await stored(sending, "1-0", "probe", wait=2000)
        sending.deliver.presence(f"online {BOB}".encode())
        for position in ("1-0", "2-0"):
            await stored(sending, position, "part")
        await sending.reply(sending.wires.sent[-1])
        await sending.reply(sending.wires.sent[-1])
        await stored(sending, "2-0", "more")
        assert got(sending) == [b"m0", b"1-0", b"2-0"]
        assert outcomes(sending)[-1] == ("200", "1")
        assert sending.deliver.in_flight() == 0


async def test_a_message_asked_for_again_is_sent_though_it_has_arrived() -> None:
    """`#history` shows what the user knows; if it fails, nothing was missed."""
    async with keeping_history() as sending:
        await back_after_a_failure(sending)
        await stored(sending, "1-0", "part")
        await sending.reply(sending.wires.sent[-1])
        await stored(sending, "1-0", "replay")
        await sending.reply(sending.wires.sent[-1], 480)
        assert got(sending) == [b"m0", b"1-0", b"1-0"]
        assert outcomes(sending)[-1] == ("480", "0")


async def test_a_message_from_the_history_is_no_sign_of_its_author() -> None:
    """It was written long ago."""
    async with keeping_history() as sending:
        await say(sending, "m0")
        await sending.reply(sending.wires.sent[0], 480)
        await sending.event(to=(CAROL,), **{"from": BOB, "history_id": "0-5", "catch_up": "part"})
        await say(sending, "m1", room=OTHER_ROOM)
        assert got(sending) == [b"m0"]
        await sending.event(to=(CAROL,), **{"from": BOB})
        await say(sending, "m2", room="chat-002@example.org")
        assert got(sending) == [b"m0", b"m2"]


async def test_a_user_that_leaves_gets_messages_from_the_history_later() -> None:
    """Nothing is sent to it; notices are tried."""
    async with keeping_history() as sending:
        await say(sending, "m0")
        await sending.reply(sending.wires.sent[0])
        sending.deliver.presence(f"offline {BOB}".encode())
        await say(sending, "m1")
        assert outcomes(sending) == [("away", "1")]
        sending.deliver.presence(f"online {BOB}".encode())
        await say(sending, "m2", room=OTHER_ROOM)
        assert got(sending) == [b"m0", b"m2"]


@pytest.mark.parametrize("payload", [b"", b"online", b"online nobody@example.org", b"\xff\xfe"])
async def test_announcements_about_others_change_nothing(payload: bytes) -> None:
    """Most users of a service are unknown to an edge."""
    async with keeping_history() as sending:
        sending.deliver.presence(payload)
        assert len(sending.recipients) == 0


# --- a sign while a delivery is pending


async def test_a_pending_delivery_is_sent_again_at_once_when_its_recipient_is_back() -> None:
    """The same MESSAGE with a new branch; a proxy may hold the first one for a dead contact."""
    async with keeping_history() as sending:
        await say(sending, "m0")
        await sending.pass_time(5)
        count = len(sending.wires.sent)
        sending.deliver.presence(f"online {BOB}".encode())
        assert len(sending.wires.sent) == count + 1
        first, again = sending.wires.sent[0].request, sending.wires.sent[-1].request
        assert first.via.branch != again.via.branch
        assert (first.call_id, first.cseq, first.from_.tag) == (again.call_id, again.cseq, again.from_.tag)
        await sending.reply(sending.wires.sent[0], 408)  # the proxy's word about the dead contact comes late
        assert outcomes(sending) == []
        await sending.reply(sending.wires.sent[-1])
        assert sending.deliver.in_flight() == 0
        assert "imc_stray_responses_total 1.0" in sending.metrics.page().decode()


async def test_the_new_request_has_the_time_of_a_new_transaction() -> None:
    """Timer F counts from there (RFC 3261 §17.1.2.2), and what waits goes out behind it."""
    async with keeping_history() as sending:
        await say(sending, "m0")
        await say(sending, "m1")
        await sending.pass_time(30)
        sending.deliver.presence(f"online {BOB}".encode())
        await sending.pass_time(10)
        assert outcomes(sending) == []
        await sending.reply(sending.wires.sent[-1])
        assert got(sending)[-1] == b"m1"


async def test_what_was_sent_just_before_is_not_sent_twice() -> None:
    """Registrations come often; the response is on its way."""
    async with keeping_history() as sending:
        await say(sending, "m0")
        for _ in range(3):
            sending.deliver.presence(f"online {BOB}".encode())
        assert got(sending) == [b"m0"]


async def test_a_delivery_that_pauses_goes_on_when_its_recipient_is_back() -> None:
    """The connection was refused, and the next attempt would come a second later."""
    async with keeping_history() as sending:
        sending.wires.broken[("udp", "127.0.0.1", 5071)] = OSError("unreachable")
        await say(sending, "m0")
        await sending.pass_time(0.8)
        sending.wires.broken.clear()
        sending.deliver.presence(f"online {BOB}".encode())
        await sending.settle_down()
        await sending.pass_time(1.2)
        await sending.reply(sending.wires.sent[-1])
        assert sending.deliver.in_flight() == 0


async def test_without_history_a_sign_also_ends_the_back_off() -> None:
    """And sends again what is pending."""
    async with Sending() as sending:
        await say(sending, "m0")
        await sending.pass_time(32.5)
        sending.deliver.presence(f"online {BOB}".encode())
        before = len(got(sending))
        await say(sending, "m1")
        assert got(sending)[before:] == [b"m1"]


# --- an edge that takes over


@pytest.mark.parametrize(
    ("since", "sent"),
    [
        pytest.param(b"1-0", False, id="an earlier message was missed"),
        pytest.param(b"2-0", False, id="this one was missed"),
        pytest.param(b"3-0", True, id="a later one was missed"),
        pytest.param(None, True, id="nothing was missed"),
    ],
)
async def test_the_next_owner_of_a_shard_sends_nothing_that_would_come_too_early(
    since: bytes | None, sent: bool
) -> None:
    """What its predecessor knew of the recipient is in the room's hash by then."""
    async with keeping_history() as sending:
        sending.redis.away[BOB] = since
        await sending.feed("2-0", entry(to=(BOB, CAROL), data=text("m1")), again=True)
        assert len(bodies(sending.wires.sent, CAROL)) == 1
        assert bool(got(sending)) is sent
        for each in list(sending.wires.sent):
            await sending.reply(each)
        assert ("away" in [word for args in sending.redis.of("settle") for word in args]) is not sent
        assert sending.deliver.in_flight() == 0


async def test_a_probe_is_sent_by_the_next_owner_though_its_message_was_missed() -> None:
    """That is what it is for."""
    async with keeping_history() as sending:
        sending.redis.away[BOB] = b"1-0"
        fields = entry(to=(BOB,), data=text("1-0"), history_id="1-0", catch_up="probe", wait=2000)
        await sending.feed("2-0", fields, again=True)
        assert got(sending) == [b"1-0"]
