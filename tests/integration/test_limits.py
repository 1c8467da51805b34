"""What one user may do, with two real edges, a worker and Redis: all count together, and say so once."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.integration.service import Service, service
from tests.integration.sip_user import SipUser, notice

pytestmark = pytest.mark.integration

BURST, COMMANDS = 16, 32
LIMITS = {
    "max_messages_per_second": "0.5",
    "max_message_burst": str(BURST),
    "max_commands_per_minute": str(COMMANDS),
    "max_invitations_per_hour": "3",
    "max_invitations_per_target": "1",
    "max_deliveries_per_second": "1",
}
CHUNK = BURST // 8
ROOMS = [f"sip:r{number}@example.org" for number in range(4)]  # of several shards


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with little patience; two edges."""
    with service(tmp_path_factory.mktemp("limited"), "redis", LIMITS, edges=2) as running:
        yield running


@pytest.fixture
async def users(limited: Service) -> AsyncIterator[list[SipUser]]:
    """Alice, Bob, Carol and Dave, who are at the first edge unless told otherwise."""
    made = [await SipUser.open(name, limited.edge) for name in ("alice", "bob", "carol", "dave")]
    yield made
    for user in made:
        user.close()


async def test_messages_are_counted_over_edges_and_rooms(limited: Service, users: list[SipUser]) -> None:
    """A user that goes from edge to edge and from room to room gets no more than at one; and one notice."""
    alice, bob = users[:2]
    for room in ROOMS:
        await alice.say(room, "#create")
        await alice.expect(notice("You have made"))
    statuses: Counter[int] = Counter()
    for number in range(4 * BURST):
        alice.edge = ("127.0.0.1", limited.ports[number % 2])
        response = await alice.send(ROOMS[number % len(ROOMS)], "hello")
        statuses[response.code] += 1
        if response.code == 403:
            assert int(response.headers["Retry-After"]) >= 1
    assert set(statuses) == {202, 403}
    # a chunk at each edge, and what came back while the test ran on a slow machine
    assert BURST <= statuses[202] <= BURST + 2 * CHUNK + 2 * CHUNK
    await alice.expect(notice("you write more than one user may"))
    await alice.expect_nothing()
    assert (await bob.send(ROOMS[0], "#join")).code == 202


async def test_commands_are_counted_over_edges_and_rooms(limited: Service, users: list[SipUser]) -> None:
    """The same for commands; messages have their own count."""
    alice, bob = users[:2]
    begun = time.monotonic()
    statuses: Counter[int] = Counter()
    for number in range(3 * COMMANDS):
        alice.edge = ("127.0.0.1", limited.ports[number % 2])
        statuses[(await alice.send(ROOMS[number % len(ROOMS)], "#help")).code] += 1
    paid_back = math.ceil((time.monotonic() - begun) * COMMANDS / 60)
    assert set(statuses) == {202, 403}
    # a chunk at each edge, before and after what came back meanwhile
    assert COMMANDS <= statuses[202] <= COMMANDS + 4 * (COMMANDS // 8) + paid_back
    told = [text async for text in until_quiet(alice)]
    notices = [text for text in told if "you send more commands than one user may" in text]
    assert 1 <= len(notices) <= 1 + paid_back // (COMMANDS // 8)  # once, until the debt is paid
    assert (await alice.send(ROOMS[0], "hello")).code == 202
    assert (await bob.send(ROOMS[0], "#list")).code == 202


async def test_after_the_wait_it_goes_on(limited: Service, users: list[SipUser]) -> None:
    """Retry-After is true."""
    alice = users[0]
    await alice.say(ROOMS[0], "#join")
    refused = None
    while refused is None:
        response = await alice.send(ROOMS[0], "hello")
        refused = response if response.code == 403 else None
    await asyncio.sleep(int(refused.headers["Retry-After"]))
    assert (await alice.send(ROOMS[0], "hello")).code == 202


async def test_invitations_to_one_and_to_all(limited: Service, users: list[SipUser]) -> None:
    """One per target and hour, three in all: asked for at either edge."""
    alice, bob, carol, dave = users
    await alice.say("sip:invites@example.org", "#create")
    await alice.expect(notice("You have made"))

    async def invite(who: SipUser | str) -> int:
        address = who if isinstance(who, str) else who.address
        return (await alice.send("sip:invites@example.org", f"#invite sip:{address}")).code

    assert await invite(bob) == 202
    await bob.expect(notice("#accept"))
    await bob.say("sip:invites@example.org", "#deny")
    await alice.expect(notice("declined"))
    alice.edge = ("127.0.0.1", limited.ports[1])
    assert await invite(bob) == 403
    await alice.expect(notice("you invite more people than one user may"))
    assert [await invite(carol), await invite(dave)] == [202, 202]
    assert [await invite("x@127.0.0.1:9"), await invite(bob)] == [403, 403]
    await alice.expect(notice("you invite more people than one user may"))  # for another reason: all, not one
    await alice.expect_nothing()


async def test_deliveries_caused_are_counted(limited: Service, users: list[SipUser]) -> None:
    """Ten in 10 s: three messages to three others go out, and one more; then a notice, then nothing."""
    room, (alice, *others) = "sip:many@example.org", users
    for user in users:
        await user.say(room, "#join")
    assert len([text async for text in until_quiet(alice)]) == 4  # made it, and three have joined
    for number in range(6):
        await alice.say(room, f"m{number}")
    for user in others:
        got = [text async for text in until_quiet(user) if text.startswith("<")]
        assert got == [f"<{alice.address}>: m{number}" for number in range(4)]
    told = [text async for text in until_quiet(alice)]
    assert len([text for text in told if "as many people as one user may" in text]) == 1


async def until_quiet(user: SipUser) -> AsyncIterator[str]:
    """What has come, until nothing more does."""
    while True:
        try:
            yield (await asyncio.wait_for(user.inbox.get(), 1.0)).text
        except TimeoutError:
            return
