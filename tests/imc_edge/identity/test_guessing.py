"""Wrong passwords: guessing is slowed down, and nobody is locked out. Real authenticators on a real Redis.

Covers guesses.py and client_source.py.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from structlog.testing import capture_logs

from imc_common.sip.auth import Challenge
from imc_edge.identity import guesses
from tests.imc_edge.identity.real_edges import PASSWORD, Service, credentials, service, signed

PROXY, HOME = "192.0.2.1", "203.0.113.7"  # the first one is trusted
FEW = {"digest_max_failures": "3"}


@pytest.fixture(autouse=True)
def long_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """No delay ends by itself, however slow the machine is."""
    monkeypatch.setattr(guesses, "FIRST_DELAY_MS", 1_000_000)
    monkeypatch.setattr(guesses, "MAX_DELAY_MS", 10**9)


async def attempt(
    at: Service,
    challenge: Challenge,
    count: int,
    password: str = PASSWORD,
    *,
    peer: str = PROXY,
    edge: int = 0,
) -> int:
    """The status of one new request with these credentials."""
    request = signed(credentials(challenge, count, password), f"{peer}-{count}-{challenge.nonce[:12]}-{edge}")
    return (await at.ask(request, edge, peer)).status


async def guess(at: Service, times: int, peer: str = PROXY, edge: int = 0) -> list[int]:
    """The statuses of so many wrong passwords, as if no time passed for the last ones."""
    told = await at.challenge(edge, peer=peer)
    return [
        await attempt(at, told, count + 1, f"guess {count}", peer=peer, edge=edge) for count in range(times)
    ]


async def time_passes(at: Service) -> None:
    """The delay is over."""
    for key in await at.keys("imc:*:turn"):
        await at.store.run([("DEL", key)])


async def test_past_the_limit_one_attempt_is_verified_per_delay() -> None:
    """At all edges together, and whatever the password: so a refusal tells nothing. The delay doubles."""
    async with service(edges=2, **FEW) as at:
        assert await guess(at, 3) == [401] * 3
        delays = []
        for number in range(4):
            told = await at.challenge(peer=PROXY)
            assert await attempt(at, told, 1, f"wrong {number}", edge=number % 2) == 401
            (turn,) = await at.keys("imc:*:turn")
            (left,) = await at.store.run([("PTTL", turn)])
            delays.append(left)
            for edge in (0, 1):
                refused = await at.ask(signed(credentials(told, 2), f"r{number}{edge}"), edge, PROXY)
                assert (refused.status, refused.reason) == (403, "Too Many Failures")
                assert int(refused.headers.get("Retry-After") or 0) == 1000 * 2 ** (number + 1)
            await time_passes(at)
        for earlier, later in pairwise(delays):
            assert later > earlier
        assert await attempt(at, await at.challenge(peer=PROXY), 1) == 202


async def test_guesses_at_the_same_moment_take_one_turn() -> None:
    """Who arrives second, at whichever edge, is refused."""
    async with service(edges=2, **FEW) as at:
        await guess(at, 3)
        told = await at.challenge(peer=PROXY)
        statuses = await asyncio.gather(
            *(attempt(at, told, count, "wrong", edge=count % 2) for count in range(1, 30))
        )
        assert sorted(statuses) == [401] + [403] * 28


async def test_a_client_in_use_gets_in_while_its_password_is_guessed_behind_the_same_proxy() -> None:
    """Its nonce was used before with the right password; a guesser's was not."""
    async with service(edges=2, **FEW) as at:
        told = await at.challenge(peer=PROXY)
        assert await attempt(at, told, 1) == 202
        await guess(at, 12)
        for count in range(2, 8):
            assert await attempt(at, told, count, edge=count % 2) == 202
        assert (await guess(at, 2))[-1] == 403


async def test_a_client_in_use_stays_so_when_its_nonce_expires() -> None:
    """It shows the password once more with the expired nonce; the new one is not a stranger's."""
    async with service(**FEW, digest_nonce_ttl="60") as at:
        told = await at.challenge(peer=PROXY)
        assert await attempt(at, told, 1) == 202
        await guess(at, 5)
        at.edges[0].now += 61
        expired = await at.ask(signed(credentials(told, 2), "expired"), peer=PROXY)
        assert expired.status == 401
        renewed = Challenge.parse(expired.headers.get_all("WWW-Authenticate")[0])
        assert renewed.stale
        await guess(at, 2)
        assert [await attempt(at, renewed, count) for count in (1, 2)] == [202, 202]


async def test_a_recording_sent_after_its_nonce_expired_does_not_make_a_guesser_known() -> None:
    """Its count was used, so the new nonce is a stranger's."""
    async with service(**FEW, digest_nonce_ttl="60") as at:
        told = await at.challenge(peer=PROXY)
        recorded = credentials(told, 1)
        assert (await at.ask(signed(recorded), peer=PROXY)).status == 202
        at.edges[0].now += 61
        replayed = await at.ask(signed(recorded, body=b"other"), peer=PROXY)
        assert replayed.status == 401
        await guess(at, 4)
        fresh = Challenge.parse(replayed.headers.get_all("WWW-Authenticate")[0])
        assert await attempt(at, fresh, 1, "guess") == 403


async def test_a_recorded_nonce_gives_a_guesser_few_attempts() -> None:
    """Someone who reads along knows a nonce in use: it has a counter of its own."""
    async with service(**FEW) as at:
        told = await at.challenge(peer=PROXY)
        assert await attempt(at, told, 1) == 202
        await guess(at, 4)
        statuses = [await attempt(at, told, 2, f"g{number}", edge=0) for number in range(1)]
        for number in range(5):
            request = signed(credentials(told, 2, f"guess {number}"), f"again-{number}")
            statuses.append((await at.ask(request, peer=PROXY)).status)
        assert statuses.count(401) <= 4
        assert statuses[-1] == 403


async def test_guesses_from_many_sources_are_slowed_down_together() -> None:
    """Each source has few attempts, and so have all together. The log has an alarm."""
    async with service(digest_max_failures="1") as at:
        with capture_logs() as lines:
            first = [(await guess(at, 1, f"198.51.100.{number}"))[0] for number in range(1, 11)]
            assert first == [401] * 10
            later = [(await guess(at, 1, f"198.51.100.{number}"))[0] for number in range(11, 21)]
        assert later == [401] + [403] * 9
        alarms = [line for line in lines if line["log_level"] == "error"]
        assert [(line["event"], line["failures"]) for line in alarms] == [("passwords are guessed", 10)]


async def test_the_delay_of_an_account_doubles_over_all_edges_and_sources() -> None:
    """Each guess comes from a new source, at the other edge. The log has an alarm."""
    async with service(edges=2, digest_max_failures="1") as at:
        for number in range(10):
            assert await guess(at, 1, f"198.51.100.{number}", number % 2) == [401]
        delays = []
        with capture_logs() as lines:
            for number in range(10, 20):
                assert await guess(at, 1, f"198.51.100.{number}", number % 2) == [401]
                (turn,) = await at.keys("imc:*:turn")
                (left,) = await at.store.run([("PTTL", turn)])
                delays.append(left)
                assert await guess(at, 1, f"203.0.113.{number}", (number + 1) % 2) == [403]
                await time_passes(at)
        for earlier, later in pairwise(delays[:8]):
            assert 1.9 * earlier < later < 2.1 * earlier
        assert [line["failures"] for line in lines if line["log_level"] == "error"] == [20]


async def test_a_known_source_gets_in_while_others_guess() -> None:
    """With a new nonce, too: not all clients keep theirs."""
    async with service(digest_max_failures="1") as at:
        assert await attempt(at, await at.challenge(peer=HOME), 1, peer=HOME) == 202
        for number in range(1, 15):
            await guess(at, 1, f"198.51.100.{number}")
        for _ in range(3):
            told = await at.challenge(peer=HOME)
            assert await attempt(at, told, 1, peer=HOME) == 202
        assert await attempt(at, await at.challenge(peer="203.0.113.8"), 1, peer="203.0.113.8") == 403


async def test_the_addresses_of_one_ipv6_network_are_one_source() -> None:
    """One host may own a /64."""
    async with service(**FEW) as at:
        for number in range(4):
            assert await guess(at, 1, f"2001:db8::{number:x}") == [401]
        assert await guess(at, 1, "2001:db8::ffff:1") == [403]
        assert await guess(at, 1, "2001:db8:0:1::1") == [401]


@pytest.mark.parametrize("below", ["198.51.100.9:5060", "phone.invalid;received=198.51.100.9"])
async def test_the_clients_behind_a_trusted_proxy_are_different_sources(below: str) -> None:
    """The proxy notes in the Via below its own where a request came from (RFC 3261 §18.2.1)."""

    def behind(authorization: str, call_id: str, via: str) -> bytes:
        lines = [f"Via: SIP/2.0/UDP {via};branch=z9hG4bKclient"]
        return signed(authorization, call_id, lines=lines)

    async with service(**FEW) as at:
        told = await at.challenge(peer=PROXY)
        statuses: list[Any] = []
        for number in range(6):
            request = behind(credentials(told, number + 1, "guess"), f"guess-{number}", below)
            statuses.append((await at.ask(request, peer=PROXY)).status)
        assert statuses == [401] * 4 + [403] * 2
        own = behind(credentials(await at.challenge(peer=PROXY), 1), "own", "203.0.113.99:5060")
        assert (await at.ask(own, peer=PROXY)).status == 202
        # an untrusted peer writes what it likes into its Vias
        statuses = []
        for number in range(6):
            request = behind(credentials(told, number + 1, "guess"), f"liar-{number}", f"203.0.113.{number}")
            statuses.append((await at.ask(request, peer="198.51.100.77")).status)
        assert statuses == [401] * 4 + [403] * 2


async def test_without_a_limit_nothing_is_slowed_down() -> None:
    """digest_max_failures = 0."""
    async with service(digest_max_failures="0") as at:
        assert await guess(at, 12) == [401] * 12


def test_the_delay_doubles_up_to_its_maximum() -> None:
    """No count makes it overflow. The real ones are shorter than the time that failures are counted."""
    assert [guesses._delay_ms(over) for over in (-1, 0, 1, 2)] == [0, 10**6, 2 * 10**6, 4 * 10**6]
    assert guesses._delay_ms(10) == guesses._delay_ms(10**9) == 10**9
    assert guesses.COUNTED_MS >= 3 * 300_000
