"""Limits of one user with two edges: all rooms and edges count together, and one notice explains it."""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from imc_common.keys import shard_of
from imc_edge.delivering.notice_limit import BURST as BURST_OF_NOTICES
from tests.integration.service import Service, service
from tests.integration.sip_user import SipUser, notice
from tests.patience import PATIENCE

pytestmark = pytest.mark.integration

MESSAGES_PER_SECOND, BURST, COMMANDS = 0.5, 16, 32
LIMITS = {
    "max_messages_per_second": str(MESSAGES_PER_SECOND),
    "max_message_burst": str(BURST),
    "max_commands_per_minute": str(COMMANDS),
    "max_invitations_per_hour": "3",
    "max_invitations_per_target": "1",
}
CHUNK = BURST // 8
DELIVERIES = 4
TOO_MANY_COMMANDS = "You are sending commands too fast"
TOO_MANY_DELIVERIES = "You are sending to too many people"
ROOMS = [f"sip:r{number}@example.org" for number in range(4)]  # of several shards


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two edges with low limits."""
    with service(tmp_path_factory.mktemp("limited"), "redis", LIMITS, edges=2) as running:
        yield running


@pytest.fixture(scope="module")
def few_deliveries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two edges with a low limit of deliveries."""
    settings = {"max_deliveries_per_second": str(DELIVERIES)}
    with service(tmp_path_factory.mktemp("few-deliveries"), "redis", settings, edges=2) as running:
        yield running


@pytest.fixture
async def users(limited: Service) -> AsyncIterator[list[SipUser]]:
    """Alice, Bob, Carol and Dave, new for this test, at the first edge by default."""
    test = secrets.token_hex(2)
    made = [await SipUser.open(f"{name}-{test}", limited.edge) for name in ("alice", "bob", "carol", "dave")]
    yield made
    for user in made:
        user.close()


async def test_messages_are_counted_over_edges_and_rooms(limited: Service, users: list[SipUser]) -> None:
    """A user who alternates between edges and rooms can send no more than at one, and gets one notice."""
    alice, bob = users[:2]
    for room in ROOMS:
        await alice.say(room, "#create")
        await alice.assert_gets(notice("You have created"))
    begun = time.monotonic()
    statuses: Counter[int] = Counter()
    for number in range(4 * BURST):
        alice.edge = ("127.0.0.1", limited.ports[number % 2])
        response = await alice.send(ROOMS[number % len(ROOMS)], "hello")
        statuses[response.code] += 1
        if response.code == 403:
            assert int(response.headers["Retry-After"]) >= 1
    assert set(statuses) == {202, 403}
    came_back = math.ceil((time.monotonic() - begun) * MESSAGES_PER_SECOND)
    # each edge may exceed the limit by a chunk, before and after the budget was refilled meanwhile
    assert BURST <= statuses[202] <= BURST + 4 * CHUNK + came_back
    await alice.assert_gets(notice("You are sending messages too fast"))
    await alice.assert_gets_nothing()
    assert (await bob.send(ROOMS[0], "#join")).code == 202


async def test_commands_are_counted_over_edges_and_rooms(limited: Service, users: list[SipUser]) -> None:
    """The same for commands; messages are counted separately."""
    alice, bob = users[:2]
    begun = time.monotonic()
    statuses: Counter[int] = Counter()
    for number in range(3 * COMMANDS):
        alice.edge = ("127.0.0.1", limited.ports[number % 2])
        statuses[(await alice.send(ROOMS[number % len(ROOMS)], "#help")).code] += 1
    paid_back = math.ceil((time.monotonic() - begun) * COMMANDS / 60)
    assert set(statuses) == {202, 403}
    # each edge may exceed the limit by a chunk, before and after the budget was refilled meanwhile
    assert COMMANDS <= statuses[202] <= COMMANDS + 4 * (COMMANDS // 8) + paid_back
    told = await everything(alice, lambda texts: len(about(TOO_MANY_COMMANDS, texts)) > 0)
    notices = about(TOO_MANY_COMMANDS, told)
    assert 1 <= len(notices) <= 1 + paid_back // (COMMANDS // 8)  # one until the budget is refilled
    assert (await alice.send(ROOMS[0], "hello")).code == 202
    assert (await bob.send(ROOMS[0], "#list")).code == 202


async def test_the_notice_about_a_limit_is_sent_even_among_many_other_refusals(
    limited: Service, users: list[SipUser]
) -> None:
    """Both edges refuse more commands than they send notices for."""
    alice = users[0]
    statuses: Counter[int] = Counter()
    for number in range(3 * COMMANDS):
        alice.edge = ("127.0.0.1", limited.ports[number % 2])
        statuses[(await alice.send(ROOMS[0], "#nonsense")).code] += 1
    assert statuses[202] > BURST_OF_NOTICES
    assert statuses[403] > 0
    told = await everything(
        alice, lambda texts: about(TOO_MANY_COMMANDS, texts) != [] and about("nonsense", texts) != []
    )
    assert len(about(TOO_MANY_COMMANDS, told)) == 1
    assert 0 < len(about("nonsense", told)) < statuses[202]


async def test_a_message_is_accepted_again_after_retry_after(limited: Service, users: list[SipUser]) -> None:
    """The Retry-After of a 403 is long enough."""
    alice = users[0]
    await alice.say(ROOMS[0], "#join")
    refused = None
    while refused is None:
        response = await alice.send(ROOMS[0], "hello")
        refused = response if response.code == 403 else None
    await asyncio.sleep(int(refused.headers["Retry-After"]))
    assert (await alice.send(ROOMS[0], "hello")).code == 202


async def test_invitations_are_limited_per_target_and_in_total(
    limited: Service, users: list[SipUser]
) -> None:
    """One per target and hour and three in total, at both edges together."""
    alice, bob, carol, dave = users
    await alice.say("sip:invites@example.org", "#create")
    await alice.assert_gets(notice("You have created"))

    async def invite(who: SipUser | str) -> int:
        address = who if isinstance(who, str) else who.address
        return (await alice.send("sip:invites@example.org", f"#invite sip:{address}")).code

    assert await invite(bob) == 202
    await bob.assert_gets(notice("#accept"))
    await alice.assert_gets(notice("You have invited"))
    await bob.say("sip:invites@example.org", "#deny")
    await alice.assert_gets(notice("declined"))
    alice.edge = ("127.0.0.1", limited.ports[1])
    assert await invite(bob) == 403
    await alice.assert_gets(notice("You are inviting too many people"))
    assert [await invite(carol), await invite(dave)] == [202, 202]
    for one in (carol, dave):
        await alice.assert_gets(notice(f"You have invited {one.address}"))
    assert [await invite("x@127.0.0.1:9"), await invite(bob)] == [403, 403]
    await alice.assert_gets(
        notice("You are inviting too many people")
    )  # once more, since another limit was exceeded
    await alice.assert_gets_nothing()


async def test_deliveries_are_counted_over_edges_and_rooms(few_deliveries: Service) -> None:
    """Forty messages to three other members each, alternating between edges and rooms; then one notice."""
    assert len({shard_of(room.removeprefix("sip:"), 4) for room in ROOMS}) == len(ROOMS)
    names = ("alice", "bob", "carol", "dave")
    alice, *others = users = [await SipUser.open(name, few_deliveries.edge) for name in names]
    for room in ROOMS:
        for number, user in enumerate(users):
            await user.say(room, "#join")
            await alice.assert_gets(notice("You have created" if number == 0 else "joined"))
    begun = time.monotonic()
    taken = []
    for number in range(40):
        alice.edge = ("127.0.0.1", few_deliveries.ports[number % 2])
        response = await alice.send(ROOMS[number % len(ROOMS)], f"m{number}")
        assert response.code in {202, 403}
        if response.code == 202:
            taken.append(number)
        else:
            assert int(response.headers["Retry-After"]) >= 1
    came_back = math.ceil((time.monotonic() - begun) * DELIVERIES)
    # at each edge: less than a chunk that is not reported yet, and the message that exceeds the limit
    chunk, each = DELIVERIES * 10 // 8, len(others)
    assert (
        DELIVERIES * 10 - 2 * chunk <= len(taken) * each <= DELIVERIES * 10 + 2 * (chunk + each) + came_back
    )
    assert (await others[0].send(ROOMS[0], "the end")).code == 202
    said = f"<{alice.address}>"
    told, *got = await asyncio.gather(
        everything(alice, lambda texts: about(TOO_MANY_DELIVERIES, texts) != []),
        *(everything(user, lambda texts: len(about(said, texts)) >= len(taken)) for user in others),
    )
    for texts in got:
        assert set(about(said, texts)) == {f"{said}: m{number}" for number in taken}
    assert len(about(TOO_MANY_DELIVERIES, told)) == 1
    for user in users:
        user.close()


async def test_histories_count_as_deliveries(few_deliveries: Service) -> None:
    """Of twenty messages each, forty deliveries at once: then a notice says to wait."""
    user, room = await SipUser.open("henry", few_deliveries.edge), "sip:henrys@example.org"
    await user.say(room, "#join")
    for number in range(20):
        await user.say(room, f"m{number}")
    begun = time.monotonic()
    codes = [(await user.send(room, "#history")).code for _ in range(20)]
    came_back = math.ceil((time.monotonic() - begun) * DELIVERIES)
    taken = codes.count(202)
    assert codes == [202] * taken + [403] * (20 - taken)
    assert DELIVERIES * 10 <= taken * 20 <= DELIVERIES * 10 + 20 + came_back
    await everything(user, lambda texts: about("You are asking for too many messages", texts) != [])
    user.close()


async def everything(user: SipUser, enough: Callable[[list[str]], bool]) -> list[str]:
    """Texts received until ``enough`` is true of them and then no more come for a second."""
    texts: list[str] = []
    deadline = time.monotonic() + PATIENCE
    while True:
        patience = 1.0 if enough(texts) else deadline - time.monotonic()
        try:
            texts.append((await asyncio.wait_for(user.inbox.get(), patience)).text)
        except TimeoutError:
            return texts


def about(part: str, texts: list[str]) -> list[str]:
    """The texts that contain this part."""
    return [text for text in texts if part in text]
