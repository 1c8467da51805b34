"""Members who are away get what they missed, in order and once, whatever tells that they are back.

Real edges, workers and servers. Users are away in different ways: nobody is registered (404), the proxy has a
dead contact (silence), a device is off and a proxy says so (480).
"""

from __future__ import annotations

import asyncio
import email.utils
import random
import secrets
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sipmessage

from imc_common import keys
from imc_common.settings import Settings
from tests.integration.conftest import OpenUser
from tests.integration.service import Service, service
from tests.integration.sip_user import Received, SipUser, notice
from tests.patience import PATIENCE
from tests.processes import wait_until

pytestmark = pytest.mark.integration

MISSED = 30
CATCH_UP_MAX = Settings().catch_up_max
LONG = CATCH_UP_MAX + 12


@pytest.fixture(scope="module", params=["redis", "cluster"])
def imc(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two edges and two workers; the rooms keep messages."""
    settings = {"history_max_messages": "500"}
    folder = tmp_path_factory.mktemp(request.param)
    with service(folder, request.param, settings, edges=2, workers=2) as running:
        yield running


def a_name() -> str:
    """Limits count all users of one name as one, and these tests send a lot."""
    return f"user-{secrets.token_hex(4)}"


async def in_a_room(room: str, *users: SipUser) -> None:
    """All users join; nothing of that is left to read."""
    for user in users:
        await user.say(room, "#join")
        await user.assert_gets(r"\*\*\* You .+")
    for user in users:
        await asyncio.sleep(0.3)
        user.drain()


def go(user: SipUser, status: int | None) -> None:
    """The user's phone is off: each MESSAGE gets this status, or silence."""
    user.status_for = lambda _: status


def come_back(user: SipUser) -> None:
    """The phone is on, and says nothing. What it saw while it was off does not count."""
    user.seen.clear()
    user.drain()
    user._done.clear()
    go(user, 200)


async def register(user: SipUser, *, expires: int = 3600) -> None:
    """A proxy's copy of the user's REGISTER."""
    contact = f"Contact: <sip:{user.address}>;expires={expires}\r\n"
    response = await user.send(f"sip:{user.address}", "", method="REGISTER", headers=contact)
    assert response.code == 200


async def told(speaker: SipUser, room: str, first: int, count: int) -> list[str]:
    """Messages of a member who is there; their texts."""
    texts = [f"m{number}" for number in range(first, first + count)]
    for text in texts:
        await speaker.say(room, text)
    return texts


async def gets(user: SipUser, texts: list[str]) -> list[Received]:
    """The user gets exactly these messages, in order, each once."""
    return [await user.assert_gets(f"<[^>]+>: {text}", within=PATIENCE) for text in texts]


async def test_a_user_that_has_unregistered_gets_everything_with_its_own_next_message(
    open_user: OpenUser, room: str
) -> None:
    """The registrar responds 404, as stock configurations do. To another room the message is enough, too."""
    alice, carol = await open_user(a_name()), await open_user(a_name())
    await in_a_room(room, alice, carol)
    go(carol, 404)
    texts = await told(alice, room, 0, 3)
    await carol.until(lambda seen: any(text.endswith(": m0") for text in seen))
    come_back(carol)
    other = room.replace("room-", "other-")
    await carol.say(other, "#join")
    texts += await told(alice, room, 3, 1)
    await carol.until(lambda seen: any(text.endswith(": m3") for text in seen))
    said = [text.partition(">: ")[2] for text in carol.texts() if ">: " in text]
    assert said == texts


@pytest.mark.parametrize("status", [480, 503, 408])
async def test_thirty_missed_messages_come_in_order_when_the_user_registers(
    open_user: OpenUser, room: str, status: int
) -> None:
    """With the Date of each; what is said meanwhile comes after them."""
    alice, carol = await open_user(a_name()), await open_user(a_name())
    await in_a_room(room, alice, carol)
    go(carol, status)
    before = time.time()
    texts = await told(alice, room, 0, MISSED)
    come_back(carol)
    await register(carol)
    texts += await told(alice, room, MISSED, 3)
    received = await gets(carol, texts)
    dates = [
        email.utils.parsedate_to_datetime(str(each.request.headers["Date"])).timestamp() for each in received
    ]
    assert dates == sorted(dates)
    assert before - 2 < dates[0]
    await carol.assert_gets_nothing()


async def test_a_user_that_gives_no_sign_is_found_by_a_probe(open_user: OpenUser, room: str) -> None:
    """The probe is the first missed message itself."""
    alice, carol = await open_user(a_name()), await open_user(a_name())
    await in_a_room(room, alice, carol)
    go(carol, 480)
    texts = await told(alice, room, 0, 5)
    come_back(carol)
    await gets(carol, texts)
    await carol.assert_gets_nothing()


async def test_nothing_is_lost_while_a_phone_is_gone_for_four_seconds(open_user: OpenUser, room: str) -> None:
    """It does not unregister, so a delivery is pending when it registers again."""
    alice, carol = await open_user(a_name()), await open_user(a_name())
    await in_a_room(room, alice, carol)
    go(carol, None)
    texts = await told(alice, room, 0, 2)
    await asyncio.sleep(2)
    texts += await told(alice, room, 2, 1)
    await asyncio.sleep(2)
    come_back(carol)
    await register(carol)
    await gets(carol, texts)
    texts = await told(alice, room, 3, 2)
    await gets(carol, texts)
    await carol.assert_gets_nothing()


async def test_after_its_farewell_a_user_is_sent_nothing_until_it_registers(
    open_user: OpenUser, room: str
) -> None:
    """Not even once: a proxy might keep the message elsewhere, or a second device ring."""
    alice, carol = await open_user(a_name()), await open_user(a_name())
    await in_a_room(room, alice, carol)
    await register(carol, expires=0)
    go(carol, 480)
    await asyncio.sleep(0.5)
    texts = await told(alice, room, 0, 2)
    await asyncio.sleep(0.5)
    come_back(carol)
    await register(carol)
    await gets(carol, texts)


async def test_what_was_missed_in_several_rooms_comes_room_by_room_in_order(open_user: OpenUser) -> None:
    """The rooms are in different shards, of different edges and workers."""
    rooms = [f"sip:many-{time.time_ns()}-{number}@example.org" for number in range(6)]
    alice, carol = await open_user(a_name()), await open_user(a_name())
    for room in rooms:
        await in_a_room(room, alice, carol)
    go(carol, 480)
    for number in range(5):
        for at, room in enumerate(rooms):
            await alice.say(room, f"r{at} m{number}")
    come_back(carol)
    await register(carol)
    await carol.until(lambda seen: len(seen) >= 5 * len(rooms))
    for at in range(len(rooms)):
        said = [text.partition(">: ")[2] for text in carol.texts() if f">: r{at} " in text]
        assert said == [f"r{at} m{number}" for number in range(5)]


async def test_of_a_long_absence_the_latest_messages_come_and_a_notice(
    open_user: OpenUser, room: str
) -> None:
    """It tells how many there were before, and what to send for them: exactly these come."""
    alice, carol = await open_user(a_name()), await open_user(a_name())
    await in_a_room(room, alice, carol)
    go(carol, 480)
    texts = await told(alice, room, 0, LONG)
    come_back(carol)
    await register(carol)
    await carol.assert_gets(notice(f"{LONG - CATCH_UP_MAX} earlier messages"))
    await gets(carol, texts[-CATCH_UP_MAX:])
    await carol.assert_gets_nothing()
    (told_so,) = [text for text in carol.texts() if "earlier messages" in text]
    carol.drain()
    await carol.say(room, told_so.rpartition("send ")[2])
    await gets(carol, texts[:-CATCH_UP_MAX])
    await carol.assert_gets_nothing()


async def test_what_expires_is_kept_until_then(imc: Service, open_user: OpenUser, room: str) -> None:
    """With Expires: 0 not at all: it goes to who is here. Expires: 3600 waits for who is away."""
    alice, bob, carol = [await open_user(a_name()) for _ in range(3)]
    await in_a_room(room, alice, bob, carol)
    go(carol, 480)
    for expires in ("0", "3600"):
        await alice.say(room, f"m{expires}", headers=f"Expires: {expires}\r\n")
        await gets(bob, [f"m{expires}"])
    come_back(carol)
    await register(carol)
    await gets(carol, ["m3600"])
    bob.drain()
    bob._done.clear()
    await bob.say(room, "#history")
    await gets(bob, ["m3600"])
    await bob.assert_gets_nothing()


SOON = 20.0
"""Seconds until the first probe and some more, on a busy machine; an edge remembers a failure for longer."""


async def test_a_user_for_whom_nothing_is_left_gets_the_next_message_soon(
    open_user: OpenUser, room: str
) -> None:
    """What was missed has expired meanwhile: the edge must not go on waiting for it."""
    alice, carol = await open_user(a_name()), await open_user(a_name())
    await in_a_room(room, alice, carol)
    go(carol, 480)
    await alice.say(room, "short", headers="Expires: 1\r\n")
    await asyncio.sleep(1.5)
    come_back(carol)
    await register(carol)
    await asyncio.sleep(0.5)
    for text in await told(alice, room, 0, 3):
        await carol.assert_gets(f"<[^>]+>: {text}", within=SOON)


async def test_who_creates_a_room_anew_gets_what_is_said_there_soon(open_user: OpenUser, room: str) -> None:
    """What the user has missed in the room before is gone with that one."""
    alice, carol = await open_user(a_name()), await open_user(a_name())
    await in_a_room(room, alice, carol)
    go(carol, 480)
    await told(alice, room, 0, 3)
    await asyncio.sleep(0.5)
    await alice.say(room, "#destroy")
    await asyncio.sleep(0.5)
    come_back(carol)
    await carol.say(room, "#create")
    await carol.assert_gets(notice("created"))
    await alice.say(room, "#join")
    await carol.assert_gets(notice("has joined"))
    for text in await told(alice, room, 3, 3):
        await carol.assert_gets(f"<[^>]+>: {text}", within=SOON)


async def test_a_room_that_has_kept_nothing_for_a_moment_sends_what_follows_soon(
    open_user: OpenUser, room: str
) -> None:
    """What carol has missed before is deleted, and everything after that arrives."""
    alice, carol = await open_user(a_name()), await open_user(a_name())
    await in_a_room(room, alice, carol)
    go(carol, 480)
    await told(alice, room, 0, 3)
    await asyncio.sleep(0.5)
    await alice.say(room, "#set history off")
    await alice.say(room, "#set history 100")
    texts = await told(alice, room, 3, 3)
    await asyncio.sleep(0.5)
    come_back(carol)
    await register(carol)
    texts += await told(alice, room, 6, 2)
    for text in texts:
        await carol.assert_gets(f"<[^>]+>: {text}", within=SOON)


async def test_a_user_that_comes_and_goes_all_the_time_gets_everything_in_order(
    open_user: OpenUser, room: str
) -> None:
    """Failures, signs and parts of the history overtake each other; the messages must not."""
    chance = random.Random(7)
    alice, carol = await open_user(a_name()), await open_user(a_name())
    await in_a_room(room, alice, carol)
    taken: dict[str, str] = {}  # by Call-ID: a repetition is recognised
    here = True

    def status(request: sipmessage.Request) -> int:
        text = request.body.decode()
        if here and ">: m" in text:
            taken.setdefault(request.call_id, text.partition(">: ")[2])
        return 200 if here else chance.choice([404, 408, 480, 503])

    async def come_and_go() -> None:
        nonlocal here
        while True:
            here = False
            await asyncio.sleep(chance.choice([0.001, 0.02, 0.1, 0.3]))
            here = True
            await register(carol)
            await asyncio.sleep(chance.choice([0.0, 0.005, 0.05, 0.2]))

    carol.status_for = status
    moving = asyncio.create_task(come_and_go())
    texts = await told(alice, room, 0, CATCH_UP_MAX - 5)
    moving.cancel()
    await asyncio.gather(moving, return_exceptions=True)
    here = True
    await register(carol)
    await carol.until(lambda _: len(taken) >= len(texts))
    assert [*taken.values()] == texts


async def test_a_member_who_is_away_stays_a_member(open_user: OpenUser, room: str) -> None:
    """`#list` shows her, and she can leave when she is back."""
    alice, carol = await open_user(a_name()), await open_user(a_name())
    await in_a_room(room, alice, carol)
    go(carol, 410)
    await told(alice, room, 0, 3)
    await alice.say(room, "#list")
    members = await alice.assert_gets(r".*Members.*")
    assert carol.address in members.text
    come_back(carol)
    await carol.say(room, "#exit")
    await alice.assert_gets(r"\*\*\* .+ has left\.")


def kill_owner(imc: Service, room: str, *users: SipUser) -> None:
    """End the edge that delivers for this room at once; these users go on with another one."""
    shard = keys.shard_of(room.removeprefix("sip:"), Settings().hash_size)
    lease = keys.lease(shard, "edge")
    wait_until(
        lambda: bool(imc.redis.exists(lease)), "an owner of the shard"
    )  # edges may still share them out
    owner = imc.redis.get(lease)
    assert isinstance(owner, bytes)
    (killed,) = [edge for edge in imc.edges if edge.child and f"-{edge.child.pid}-" in owner.decode()]
    killed.send(signal.SIGKILL)
    assert killed.child is not None
    killed.child.wait()
    del imc.ports[imc.edges.index(killed)]
    imc.edges.remove(killed)
    for user in users:
        user.edge = imc.edge


async def test_edges_that_are_killed_meanwhile_lose_nothing(tmp_path: Path, room: str) -> None:
    """While the user is away, and while it catches up: everything comes, in order, and once."""
    settings = {"history_max_messages": "500", "catch_up_max": "100", "lease_ttl": "2"}
    with service(tmp_path, "redis", settings, edges=3) as imc:
        alice, carol = [await SipUser.open(name, imc.edge) for name in ("alice", "carol")]
        try:
            await in_a_room(room, alice, carol)
            go(carol, 480)
            texts = await told(alice, room, 0, MISSED)
            kill_owner(imc, room, alice, carol)
            texts += await told(alice, room, MISSED, MISSED)
            come_back(carol)
            await register(carol)
            await carol.until(lambda seen: len(seen) >= 5)
            kill_owner(imc, room, alice, carol)
            await carol.until(lambda seen: len(seen) >= 2 * MISSED)
            assert [text.partition(">: ")[2] for text in carol.texts()] == texts
        finally:
            alice.close()
            carol.close()


async def test_a_sign_that_a_full_redis_cannot_heed_is_heeded_later(tmp_path: Path, room: str) -> None:
    """The user has been away for long, so that its next probe is far away. It registers once."""
    with service(tmp_path, "redis", {"history_max_messages": "500"}) as imc:
        alice, carol = [await SipUser.open(name, imc.edge) for name in ("alice", "carol")]
        try:
            await in_a_room(room, alice, carol)
            go(carol, 480)
            texts = await told(alice, room, 0, 3)
            shard = keys.shard_of(room.removeprefix("sip:"), Settings().hash_size)
            wait_until(lambda: imc.redis.zcard(keys.probes(shard)) == 1, "carol is away")
            imc.wait_until_settled()
            imc.redis.zadd(keys.probes(shard), {carol.address: (time.time() + 600) * 1000})
            imc.redis.config_set("maxmemory", 1)
            come_back(carol)
            await register(carol)
            await asyncio.sleep(1)
            imc.redis.config_set("maxmemory", 0)
            for text in texts:
                await carol.assert_gets(f"<[^>]+>: {text}", within=SOON)
        finally:
            alice.close()
            carol.close()
