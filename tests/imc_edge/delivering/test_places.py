"""Silent recipients delay only those who write to them: limits for each sender and each room."""

from __future__ import annotations

import pytest

from imc_common.rooms.request import RequestData
from imc_edge.delivering.places import MIN_PENDING_EACH
from tests.imc_edge.sending import Batch, Sending, entry, on_loopback

CAROL = "carol@127.0.0.1:5072"
MALLORY, ERIN = "mallory@example.org", "erin@example.org"


def silent(count: int, room: int = 0) -> list[str]:
    """Addresses of a room whose members never respond."""
    return [f"silent-{room}-{number}@127.0.0.1" for number in range(count)]


def went_to(sending: Sending, address: str) -> list[bytes]:
    """The bodies of what was sent there, without retransmissions."""
    bodies = [each.request.body for each in sending.wires.sent if each.recipient == address]
    return list(dict.fromkeys(bodies))


def text(body: str) -> RequestData:
    """The data of a message."""
    return RequestData("text/html", body.encode(), max_forwards=69)


async def event(sending: Sending, sender: str, to: list[str], body: str = "hello", **fields: str) -> str:
    """A message of this sender comes out of the stream."""
    return await sending.event(to=to, data=text(body), **{"from": sender, **fields})


async def test_an_unrelated_room_gets_its_message_while_all_silent_ones_are_pending() -> None:
    """28 rooms of silent members, three senders, who first send as much as their limits allow at once.

    No time passes before others get their messages.
    """
    async with Sending(on_loopback(max_in_flight=200)) as sending:
        for room in range(28):
            await event(sending, f"mallory-{room % 3}@example.org", silent(40, room), room=f"r{room}@h.org")
            if room == 14:
                await event(sending, "alice@example.org", [CAROL], "1")
                await sending.pass_time(0.7)
        assert len({each.recipient for each in sending.wires.sent}) < 28 * 40
        await event(sending, "alice@example.org", ["new@127.0.0.1", CAROL], "2")
        assert went_to(sending, "new@127.0.0.1") == [b"2"]
        await sending.reply(next(each for each in sending.wires.sent if each.recipient == CAROL))
        assert went_to(sending, CAROL) == [b"1", b"2"]


async def test_known_members_get_a_message_beside_any_number_of_silent_ones() -> None:
    """The one who writes to silent members waits only with those that are silent or new."""
    async with Sending(on_loopback(max_in_flight=16)) as sending:
        await event(sending, MALLORY, [CAROL])
        await sending.reply(sending.wires.sent[-1])
        await event(sending, MALLORY, silent(60))
        await sending.pass_time(0.7)
        await event(sending, MALLORY, [CAROL, "new@127.0.0.1"], "2")
        assert went_to(sending, CAROL) == [b"hello", b"2"]
        assert went_to(sending, "new@127.0.0.1") == []


async def test_who_waits_for_a_place_gets_its_messages_in_order_when_one_is_free() -> None:
    """Silent recipients give their places back at Timer F."""
    new = "new@127.0.0.1"
    async with Sending(on_loopback(max_in_flight=8, unreachable_ttl=300)) as sending:
        await event(sending, MALLORY, silent(60))
        await sending.pass_time(0.7)
        for body in ("1", "2", "3"):
            await event(sending, MALLORY, [new], body)
        assert went_to(sending, new) == []
        await sending.pass_time(32, step=0.5)
        for count in (1, 2, 3):
            assert went_to(sending, new) == [b"1", b"2", b"3"][:count]
            await sending.reply([each for each in sending.wires.sent if each.recipient == new][-1])
        assert sending.deliver.context.places.pending == 0
        assert sending.deliver.context.places.in_flight == 0
        assert sending.deliver.in_flight() == 0


async def test_what_is_too_much_to_wait_fails_for_this_sender_and_room_only() -> None:
    """As surplus, which is counted and recorded. A sender and a room may have 5,000 waiting."""
    dead, messages = silent(50), MIN_PENDING_EACH // 50
    async with Sending(on_loopback(max_in_flight=16)) as sending:
        await event(sending, ERIN, dead[:1], room="another@example.org")
        await event(sending, MALLORY, dead)
        await sending.pass_time(0.7)
        for number in range(messages - 1):
            fields = entry(to=dead, **{"from": MALLORY})
            sending.stream.batches.put_nowait(Batch(3, [(f"900-{number}".encode(), fields)]))
        await sending.until(sending.stream.batches.empty)
        await sending.settle_down()
        assert sending.redis.of("settle") == []
        await event(sending, MALLORY, dead[1:], "2")
        outcomes = sending.redis.of("settle")[-1][5:]
        assert (outcomes[0::3], set(outcomes[1::3])) == (tuple(dead[1:]), {"surplus"})
        await event(sending, ERIN, dead[:1], "3")  # the room is full for everybody
        assert sending.redis.of("settle")[-1][5:] == (dead[0], "surplus", "0")
        settled = len(sending.redis.of("settle"))
        await event(sending, ERIN, dead[:1], "4", room="another@example.org")
        assert len(sending.redis.of("settle")) == settled  # it waits


async def test_the_port_and_case_of_a_sender_are_no_part_of_whom_the_limits_count() -> None:
    """One user has one share."""
    async with Sending(on_loopback(max_in_flight=8)) as sending:
        await event(sending, "mallory@127.0.0.1:6000", silent(30))
        await sending.pass_time(0.7)
        await event(sending, "MALLORY@127.0.0.1:6001", ["new@127.0.0.1"])
        assert went_to(sending, "new@127.0.0.1") == []


async def test_new_recipients_that_respond_lose_nothing_however_much_waits_for_them() -> None:
    """They are on trial because much is in flight. With more waiting, reading pauses instead."""
    async with Sending(on_loopback(max_in_flight=8)) as sending:
        await event(sending, ERIN, [f"slow{n}@127.0.0.1" for n in range(4)])
        for number in range(40):
            await event(sending, MALLORY, [CAROL], str(number))
        for number in range(40):
            await sending.reply([each for each in sending.wires.sent if each.recipient == CAROL][number])
        assert went_to(sending, CAROL) == [str(number).encode() for number in range(40)]
        assert "surplus" not in sending.metrics.page().decode()


@pytest.mark.parametrize("lost", [False, True])
async def test_thousands_that_wait_for_a_place_do_not_recurse(lost: bool) -> None:
    """Neither when the shard is lost nor when the places become free."""
    async with Sending(on_loopback(max_in_flight=1000)) as sending:
        await event(sending, MALLORY, silent(600, 1))
        await sending.pass_time(0.7)
        sent = len(sending.wires.sent)
        await event(sending, MALLORY, silent(3000))
        assert len(sending.wires.sent) < sent + 1000
        assert sending.deliver.context.places.pending > 2000
        if lost:
            sending.owner.shards = frozenset()
            sending.turn()
        await sending.pass_time(280, step=1.0)
        assert sending.deliver.context.places.pending == 0
        assert sending.deliver.in_flight() == 0


async def test_whoever_has_few_places_gets_one_when_others_use_all() -> None:
    """However many names somebody uses to write to silent recipients."""
    async with Sending(on_loopback(max_in_flight=100)) as sending:
        await event(sending, "alice@example.org", silent(1, 99))
        for number in range(8):
            await event(sending, f"mallory-{number}@example.org", silent(60, number), room=f"r{number}@h.org")
            await sending.pass_time(0.6)
        assert sending.deliver.context.places.in_flight > 4 * 100
        await event(sending, "alice@example.org", [CAROL])
        assert went_to(sending, CAROL) == [b"hello"]
