"""Which recipients are remembered, and how many."""

from __future__ import annotations

import pytest

from imc_edge.delivering import recipients as module
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
    """An invalid address makes none."""
    async with Sending() as sending:
        recipients = sending.recipients
        await sending.event(to=("bob@example.org",))
        bob = recipients.get("bob@example.org")
        await sending.event(to=("bob@example.org", "no address"))
        with pytest.raises(UnsendableError):
            recipients.add("no address")
        assert list(recipients) == [bob]
        assert recipients.get("no address") is None


async def test_the_devices_of_a_user_are_found_by_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the user who registers. A forgotten device is not found; one that is made anew is found once."""
    monkeypatch.setattr(module, "MAX_USERS_OF_DEVICES", 2)
    phone, tablet, other = "bob@127.0.0.1;gr=1", "bob@127.0.0.1;gr=2;aor", "carol@127.0.0.1;gr=1"
    async with Sending() as sending:
        recipients = sending.recipients
        assert recipients.of_user("bob@127.0.0.1") == []
        for address in ("bob@127.0.0.1", phone, tablet, other):
            recipients.add(address)
        assert [each.address for each in recipients.of_user("bob@127.0.0.1")] == [
            "bob@127.0.0.1",
            phone,
            tablet,
        ]
        assert [each.target for each in recipients.of_user("bob@127.0.0.1")] == [
            "bob@127.0.0.1",
            phone,
            "bob@127.0.0.1;gr=2",
        ]
        del recipients._new[phone]
        assert [each.address for each in recipients.of_user("bob@127.0.0.1")] == ["bob@127.0.0.1", tablet]
        recipients.add(phone)
        recipients.add("dora@127.0.0.1;gr=1")
        assert [each.address for each in recipients.of_user("bob@127.0.0.1")] == [
            "bob@127.0.0.1",
            tablet,
            phone,
        ]
        with pytest.raises(UnsendableError):
            recipients.add("bob@127.0.0.1;gr=a<b;aor")


async def test_of_many_idle_recipients_few_are_remembered() -> None:
    """Those with a message in flight are, and those backed off, and the latest."""
    async with Sending() as sending:
        recipients = sending.remember(10 * MAX_NEW)
        await sending.event(to=("busy@127.0.0.1",))
        back_off(recipients.add("silent@127.0.0.1"), sending.clock.now + 30)
        for number in range(3 * PROMOTE_EVERY * MAX_NEW):
            recipients.add(f"user{number}@127.0.0.1")
        assert MAX_NEW < len(recipients) <= 2 * MAX_NEW + 2
        assert recipients.get("busy@127.0.0.1") is not None
        assert recipients.get("silent@127.0.0.1") is not None
        assert recipients.get(f"user{3 * PROMOTE_EVERY * MAX_NEW - 1}@127.0.0.1") is not None


async def test_frequent_recipients_become_long_lived() -> None:
    """Also the members of a room that has more of them than there are new recipients."""
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


async def test_long_lived_recipients_that_are_rarely_needed_are_dropped() -> None:
    """Otherwise all of them are kept."""
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


async def test_backed_off_recipients_are_remembered_while_there_is_room() -> None:
    """Whatever others come: each would cost another Timer F."""
    async with Sending() as sending:
        recipients = sending.remember(5 * MAX_NEW)
        for number in range(3 * MAX_NEW):
            back_off(recipients.add(f"silent{number}@127.0.0.1"), sending.clock.now + 30)
        for number in range(3 * PROMOTE_EVERY * MAX_NEW // 4):
            recipients.add(f"user{number}@127.0.0.1")
        assert sum(each.address.startswith("silent") for each in recipients) == 3 * MAX_NEW


async def test_many_busy_new_recipients_are_not_gone_through_for_each_further_one() -> None:
    """Only when there are twice as many."""
    async with Sending() as sending:
        recipients = sending.remember(4)
        await sending.event(to=[f"busy{number}@127.0.0.1" for number in range(9)])
        clearings = recipients._clearings
        for number in range(7):
            recipients.add(f"user{number}@127.0.0.1")
        assert clearings == 2
        assert recipients._clearings == 2


async def test_idle_recipients_are_dropped_when_there_are_too_many() -> None:
    """Those with a message in flight are not, nor those backed off while there is room."""
    async with Sending() as sending:
        recipients = sending.remember(10)
        await sending.event(to=("busy@127.0.0.1",))
        back_off(recipients.add("silent@127.0.0.1"), sending.clock.now + 30)
        for number in range(200):
            recipients.add(f"user{number}@127.0.0.1")
            assert len(recipients) <= 20
        assert recipients.get("busy@127.0.0.1") is not None
        assert recipients.get("silent@127.0.0.1") is not None


async def test_backed_off_recipients_are_dropped_when_there_is_no_room() -> None:
    """The next delivery to one is sent again, and nothing worse."""
    async with Sending() as sending:
        recipients = sending.remember(10)
        for number in range(200):
            back_off(recipients.add(f"user{number}@127.0.0.1"), sending.clock.now + 30)
            assert len(recipients) <= 20


async def test_all_busy_recipients_are_kept() -> None:
    """Their number has limits of its own."""
    async with Sending() as sending:
        recipients = sending.remember(5)
        busy = [f"busy{number}@127.0.0.1" for number in range(12)]
        await sending.event(to=busy)
        assert [each.address for each in recipients] == busy
