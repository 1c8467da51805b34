"""Recipients are kept while they are of use, and no more of them than memory should be spent on."""

from __future__ import annotations

import pytest

from imc_edge.delivering.outbound import UnsendableError
from imc_edge.delivering.recipient import Recipient
from imc_edge.delivering.recipients import MAX_MISSES_PER_HIT, MAX_NEW, PROMOTE_EVERY
from tests.imc_edge.sending import Sending


def back_off(recipient: Recipient, until: float) -> None:
    """As after Timer F."""
    recipient.backed_off_until = until
    recipient.unresponsive = True
    recipient.ready_hop = None


async def test_a_recipient_is_made_once() -> None:
    """And an address that is none makes nothing."""
    async with Sending() as sending:
        recipients = sending.recipients
        await sending.event(to=("bob@example.org",))
        bob = recipients.get("bob@example.org")
        await sending.event(to=("bob@example.org", "no address"))
        with pytest.raises(UnsendableError):
            recipients.add("no address")
        assert list(recipients) == [bob]
        assert recipients.get("no address") is None


async def test_of_many_that_are_idle_few_stay() -> None:
    """Those with a message in flight do, and those held off, as do the latest."""
    async with Sending() as sending:
        recipients = sending.remember(10 * MAX_NEW)
        await sending.event(to=("busy@127.0.0.1",))
        back_off(recipients.add("held@127.0.0.1"), sending.clock.now + 30)
        for number in range(3 * PROMOTE_EVERY * MAX_NEW):
            recipients.add(f"user{number}@127.0.0.1")
        assert MAX_NEW < len(recipients) <= 2 * MAX_NEW + 2
        assert recipients.get("busy@127.0.0.1") is not None
        assert recipients.get("held@127.0.0.1") is not None
        assert recipients.get(f"user{3 * PROMOTE_EVERY * MAX_NEW - 1}@127.0.0.1") is not None


async def test_who_comes_again_and_again_stays() -> None:
    """Also the members of a room that has more of them than are remembered shortly."""
    async with Sending() as sending:
        recipients = sending.remember(20 * MAX_NEW)
        room = [f"user{number}@127.0.0.1" for number in range(PROMOTE_EVERY * MAX_NEW)]
        made = []
        for _ in range(4 * PROMOTE_EVERY):
            missing = [address for address in room if recipients.get(address) is None]
            made.append(len(missing))
            for address in missing:
                if recipients.get(address) is None:
                    recipients.add(address)
        assert made[0] == len(room)
        assert made[-1] == 0


async def test_who_stayed_and_was_not_asked_for_goes() -> None:
    """Then the memory that nothing touches is no more than that of a few newcomers; else all stay."""
    async with Sending() as sending:
        recipients = sending.remember(20 * MAX_NEW)

        def come(word: str, often: str) -> None:
            for number in range(PROMOTE_EVERY * MAX_NEW):
                recipients.add(f"{word}{number}@127.0.0.1")
                if number % (MAX_MISSES_PER_HIT // 2) == 0:
                    recipients.get(often)

        come("first", "nobody@127.0.0.1")
        recipients.add("one-more@127.0.0.1")
        stayed = [each.address for each in recipients if each.address.startswith("first")]
        assert len(stayed) == MAX_NEW
        come("second", stayed[0])
        come("third", stayed[0])
        assert [each.address for each in recipients if each.address.startswith("first")] == stayed
        come("fourth", "nobody@127.0.0.1")
        come("fifth", "nobody@127.0.0.1")
        assert recipients.get(stayed[0]) is None


async def test_those_held_off_stay_while_there_is_room_for_them() -> None:
    """Whoever else comes: each would cost the whole of Timer F again."""
    async with Sending() as sending:
        recipients = sending.remember(5 * MAX_NEW)
        for number in range(3 * MAX_NEW):
            back_off(recipients.add(f"held{number}@127.0.0.1"), sending.clock.now + 30)
        for number in range(3 * PROMOTE_EVERY * MAX_NEW // 4):
            recipients.add(f"user{number}@127.0.0.1")
        assert sum(each.address.startswith("held") for each in recipients) == 3 * MAX_NEW


async def test_many_busy_newcomers_are_not_gone_through_for_each_further_one() -> None:
    """They are when there are twice as many."""
    async with Sending() as sending:
        recipients = sending.remember(4)
        await sending.event(to=[f"busy{number}@127.0.0.1" for number in range(9)])
        clearings = recipients._clearings
        for number in range(7):
            recipients.add(f"user{number}@127.0.0.1")
        assert clearings == 2
        assert recipients._clearings == 2


async def test_the_idle_ones_are_forgotten_when_there_are_too_many() -> None:
    """Those with a message in flight are not, nor those held off while there is room."""
    async with Sending() as sending:
        recipients = sending.remember(10)
        await sending.event(to=("busy@127.0.0.1",))
        back_off(recipients.add("held@127.0.0.1"), sending.clock.now + 30)
        for number in range(200):
            recipients.add(f"user{number}@127.0.0.1")
            assert len(recipients) <= 20
        assert recipients.get("busy@127.0.0.1") is not None
        assert recipients.get("held@127.0.0.1") is not None


async def test_those_held_off_are_forgotten_when_there_is_no_room_for_them() -> None:
    """They would be asked for nothing; one that comes again is tried again, that is all."""
    async with Sending() as sending:
        recipients = sending.remember(10)
        for number in range(200):
            back_off(recipients.add(f"user{number}@127.0.0.1"), sending.clock.now + 30)
            assert len(recipients) <= 20


async def test_many_busy_ones_are_all_kept() -> None:
    """Their number has bounds of its own."""
    async with Sending() as sending:
        recipients = sending.remember(5)
        busy = [f"busy{number}@127.0.0.1" for number in range(12)]
        await sending.event(to=busy)
        assert [each.address for each in recipients] == busy
