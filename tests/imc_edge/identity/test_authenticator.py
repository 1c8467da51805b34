"""Digest authentication of the sender (RFC 3261 §22, RFC 7616, RFC 8760)."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from imc_common import keys
from imc_common.rooms.request import RETRANSMISSION_SECONDS
from imc_common.sip import Response
from imc_common.sip.auth import Authorization, Challenge
from imc_common.sip.digest import digest, digest_response
from imc_common.store import ReplyError
from imc_common.users import Users, hashes_of
from imc_edge.identity.guesses import Attempt
from tests.fake_store import FakeStore
from tests.imc_edge.doubles import Edge, FakeFlow, edge, message
from tests.mutator import Mutator
from tests.patience import PATIENCE

ALICE, PASSWORD = "alice@example.org", "wonder land"
URI = "sip:chat-000@example.org"
ALL = ("SHA-512-256", "SHA-256", "MD5")


@asynccontextmanager
async def service(store: FakeStore | None = None, **settings: Any) -> AsyncIterator[Edge]:
    """An edge that authenticates by password, with the users Alice and Bob."""
    own = store is None
    store = store or FakeStore()
    if own:
        for user in (ALICE, "bob@example.org", "alice@other.example"):
            await Users(store).add(user, hashes_of(user, PASSWORD, ALL))
    async with edge(store, identity="digest", **settings) as at:
        yield at


async def ask(at: Edge, data: bytes, peer: str = "192.0.2.1") -> Response:
    """The one response, which may take several round trips to Redis."""
    flow = FakeFlow("udp", (peer, 5062))
    at.acceptor.receive(data, flow)
    for _ in range(2000):
        if flow.sent:
            break
        await asyncio.sleep(0.001)
    (response,) = flow.responses
    return response


def challenges(response: Response) -> list[Challenge]:
    return [Challenge.parse(value) for value in response.headers.get_all("WWW-Authenticate")]


def credentials(challenge: Challenge, count: int = 1, password: str = PASSWORD, **other: Any) -> str:
    """The value of Authorization for a challenge; ``other`` replaces the right parameters."""
    user, realm = other.get("username", "alice"), other.get("realm", challenge.realm)
    given: dict[str, Any] = {
        "username": user,
        "realm": realm,
        "nonce": challenge.nonce,
        "uri": URI,
        "algorithm": challenge.algorithm,
        "cnonce": "0a4f113b",
        "count": f"{count:08x}" if count else "",
    } | other
    ha1 = digest(given["algorithm"], f"{user}:{realm}:{password}")
    response = digest_response(
        given["algorithm"],
        ha1,
        "MESSAGE",
        given["uri"],
        given["nonce"],
        cnonce=given["cnonce"],
        count=given["count"],
    )
    return str(Authorization(**{"response": response} | given))


def signed(authorization: str, call_id: str = "second", **headers: str) -> bytes:
    return message(lines=[f"Authorization: {authorization}"], Call_ID=call_id, CSeq="2 MESSAGE", **headers)


async def first_challenge(at: Edge, **headers: str) -> Challenge:
    return challenges(await ask(at, message(Call_ID="first", **headers)))[0]


async def requests_in(at: Edge) -> int:
    commands: list[Any] = [("XLEN", keys.requests(shard)) for shard in range(16)]
    return sum(await at.store.run(commands))  # type: ignore[arg-type]


async def test_a_request_without_credentials_is_challenged_in_the_order_of_the_setting() -> None:
    """RFC 8760 §2.4: one challenge for each algorithm; Linphone uses none but the first."""
    async with service() as at:
        ran = len(at.store.ran)  # type: ignore[attr-defined]
        response = await ask(at, message())
        assert response.status == 401
        told = challenges(response)
        assert [each.algorithm for each in told] == ["SHA-256", "SHA-512-256"]
        assert all(each.qop and not each.stale and each.realm == "example.org" for each in told)
        assert len(at.store.ran) == ran  # type: ignore[attr-defined] # nobody makes us ask Redis for nothing
    async with service(digest_algorithms="md5,sha-256,MD5") as at:
        assert [each.algorithm for each in challenges(await ask(at, message()))] == ["MD5", "SHA-256"]


@pytest.mark.parametrize("algorithm", ALL)
async def test_a_request_with_the_right_password_is_accepted(algorithm: str) -> None:
    """From any peer."""
    async with service(digest_algorithms=",".join(ALL)) as at:
        told = {each.algorithm: each for each in challenges(await ask(at, message()))}
        response = await ask(at, signed(credentials(told[algorithm])), peer="198.51.100.9")
        assert response.status == 202
        assert await requests_in(at) == 1


@pytest.mark.parametrize(("case_sensitive_users", "status"), [(True, 403), (False, 202)])
async def test_from_in_another_case_is_the_same_user_if_case_makes_no_difference(
    case_sensitive_users: bool, status: int
) -> None:
    """The user name of the credentials is the one of `imc user add`, since HA1 contains it."""
    async with service(case_sensitive_users=case_sensitive_users) as at:
        sender = {"From": "<sip:ALICE@example.org>;tag=1"}
        right = credentials(await first_challenge(at, **sender))
        assert (await ask(at, signed(right, **sender))).status == status
        assert await requests_in(at) == (status == 202)
        other = credentials(await first_challenge(at, **sender), username="ALICE")
        assert (await ask(at, signed(other, "third", **sender))).status == 401


async def test_credentials_without_qop_are_accepted_for_md5_only_and_once_per_nonce() -> None:
    """RFC 2069 has no nonce count, so a nonce serves one request."""
    async with service(digest_algorithms=",".join(ALL)) as at:
        told = {each.algorithm: each for each in challenges(await ask(at, message()))}
        old = credentials(told["MD5"], 0, cnonce="")
        assert (await ask(at, signed(old))).status == 202
        assert challenges(await ask(at, signed(old, "third")))[0].stale
        response = await ask(at, signed(credentials(told["SHA-256"], 0, cnonce="")))
        assert (response.status, response.reason) == (400, "Digest Without Qop")


async def test_a_nonce_serves_many_requests_at_every_edge() -> None:
    """Each with another nonce count, in any order."""
    async with service() as one, service(one.store) as other:  # type: ignore[arg-type]
        told = await first_challenge(one)
        for count, at in [(1, other), (3, one), (2, other)]:
            response = await ask(at, signed(credentials(told, count), f"message {count}".replace(" ", "-")))
            assert response.status == 202
        assert await requests_in(one) == 3


async def test_a_replay_is_refused_at_every_edge() -> None:
    """RFC 7616 §3.4; also with a new cnonce for a count that was used."""
    async with service() as one, service(one.store) as other:  # type: ignore[arg-type]
        told = await first_challenge(one)
        assert (await ask(one, signed(credentials(told)))).status == 202
        for again in (credentials(told), credentials(told, cnonce="another")):
            for at in (one, other):
                response = await ask(at, signed(again, "replay"))
                assert response.status == 401
                assert all(each.stale for each in challenges(response))
        assert await requests_in(one) == 1


async def test_a_retransmission_with_credentials_gets_the_same_response_at_every_edge() -> None:
    """RFC 3261 §8.2.7: it is no replay, though credentials and nonce count are the same."""
    async with service() as one, service(one.store) as other:  # type: ignore[arg-type]
        request = signed(credentials(await first_challenge(one)))
        responses = [(await ask(at, request)) for at in (one, other, one)]
        assert [(response.status, response.to.tag) for response in responses] == [
            (202, responses[0].to.tag)
        ] * 3
        assert await requests_in(one) == 1


async def test_a_replay_of_the_whole_request_is_refused_once_it_is_forgotten() -> None:
    """Duplicates are known for 64 s. A nonce may last longer, but its used counts are still used."""
    async with service() as at:
        request = signed(credentials(await first_challenge(at)))
        assert (await ask(at, request)).status == 202
        shard = keys.shard_of("chat-000@example.org", 4)
        forgotten = await at.store.run([("DEL", keys.seen(shard, "recent"))])  # type: ignore[arg-type]
        assert forgotten == [1]
        await minute_passes(at)
        response = await ask(at, request)
        assert (response.status, challenges(response)[0].stale) == (401, True)
        assert await requests_in(at) == 1


async def minute_passes(at: Edge) -> None:
    """As far as the use of a nonce count in Redis is concerned."""
    client = at.store._client  # type: ignore[attr-defined]
    (use,) = await client.keys("imc:*:nonce:*")
    await client.pexpire(use, await client.pttl(use) - 60_000)


@asynccontextmanager
async def stopped_before_accepting(at: Edge, request: bytes) -> AsyncIterator[tuple[FakeFlow, asyncio.Event]]:
    """An edge that has noted the use of the nonce and then stops, until the event is set."""
    store: Any = at.store
    run, go_on, flow = store.run, asyncio.Event(), FakeFlow()

    async def stopped(commands: Any, **options: Any) -> list[Any]:
        await go_on.wait()
        return list(await run(commands, **options))

    store.run = stopped
    at.acceptor.receive(request, flow)
    async with asyncio.timeout(PATIENCE):
        while not await store._client.keys("imc:*:nonce:*"):
            await asyncio.sleep(0.001)
        while not len(at.acceptor.commit):
            await asyncio.sleep(0.001)
    await at.settle()
    store.run = run
    yield flow, go_on


async def test_a_retransmission_is_accepted_if_its_first_edge_stopped_after_noting_the_nonce() -> None:
    """After a 401 the client would send it again as a new request. If the edge goes on, both are one."""
    async with service() as one, service(one.store) as other:  # type: ignore[arg-type]
        request = signed(credentials(await first_challenge(one)))
        async with stopped_before_accepting(one, request) as (flow, go_on):
            assert (await ask(other, request)).status == 202
            assert flow.sent == []
            go_on.set()
            await one.acceptor.commit.drain(asyncio.get_running_loop().time() + PATIENCE)
        assert [response.status for response in flow.responses] == [202]
        assert await requests_in(one) == 1


async def test_a_request_that_was_never_accepted_is_refused_after_the_retransmission_time() -> None:
    """Its edge died. An attacker who recorded it must not be able to send it as long as the nonce lasts."""
    async with service() as one, service(one.store) as other:  # type: ignore[arg-type]
        request = signed(credentials(await first_challenge(one)))
        async with stopped_before_accepting(one, request):
            await minute_passes(one)
            response = await ask(other, request)
        assert (response.status, challenges(response)[0].stale) == (401, True)
        assert await requests_in(one) == 0


async def test_an_expired_nonce_is_stale() -> None:
    """RFC 7616 §3.3: the client may try the new one without asking its user."""
    async with service(digest_nonce_ttl="60") as at:
        told = await first_challenge(at)
        at.now += 59
        assert (await ask(at, signed(credentials(told)))).status == 202
        at.now += 2
        response = await ask(at, signed(credentials(told, 2), "third"))
        assert (response.status, [each.stale for each in challenges(response)]) == (401, [True, True])
        assert (await ask(at, signed(credentials(challenges(response)[0]), "fourth"))).status == 202


async def test_a_retransmission_gets_202_for_64_s_after_its_nonce_expired() -> None:
    """After a 401 the client would send it again as a new request."""
    async with service(digest_nonce_ttl="60") as at:
        request = signed(credentials(await first_challenge(at)))
        at.now += 59
        assert (await ask(at, request)).status == 202
        at.now += RETRANSMISSION_SECONDS
        assert (await ask(at, request)).status == 202
        at.now += 2
        assert (await ask(at, request)).status == 401
        assert await requests_in(at) == 1


@pytest.mark.parametrize(
    "nonce", ["", "x", "ä", "AAAA", "A" * 39, "A" * 1500, "!" * 39, 'a"b'], ids=lambda nonce: nonce[:5]
)
async def test_a_forged_nonce_is_stale_and_asks_redis_nothing(nonce: str) -> None:
    """It looks like one of ours that was made long ago."""
    async with service() as at:
        told = await first_challenge(at)
        ran = len(at.store.ran)  # type: ignore[attr-defined]
        response = await ask(at, signed(credentials(told, nonce=nonce or "-")))
        assert (response.status, challenges(response)[0].stale) == (401, True)
        assert len(at.store.ran) == ran  # type: ignore[attr-defined]


async def test_a_nonce_serves_one_realm_only() -> None:
    """The users of one domain share no nonces with those of another."""
    async with service() as at:
        told = await first_challenge(at, From="<sip:alice@other.example>;tag=1")
        assert told.realm == "other.example"
        response = await ask(at, signed(credentials(told, realm="example.org")))
        assert (response.status, challenges(response)[0].stale) == (401, True)


async def test_known_and_unknown_users_get_the_same_responses() -> None:
    """A scanner such as svwar learns nothing from status, challenges or round trips."""
    responses = []
    for user in ("alice", "nobody"):
        async with service() as at:
            who = {"From": f"<sip:{user}@example.org>;tag=1"}
            plain = await ask(at, message(Call_ID="first", **who))
            told = challenges(plain)[0]
            ran = len(at.store.ran)  # type: ignore[attr-defined]
            wrong = await ask(at, signed(credentials(told, password="wrong", username=user), **who))
            trips = [[command[0] for command in batch] for batch in at.store.ran[ran:]]  # type: ignore[attr-defined]
            hashes = r'(tag=|nonce=")[\w-]{16,}'
            shown = [
                re.sub(hashes, r"\1", response.to_bytes().decode()).replace(user, "USER")
                for response in (plain, wrong)
            ]
            responses.append([*shown, trips])
    assert responses[0] == responses[1]
    assert responses[0][2] == [["GET", "GET", "HGET"], ["INCR", "PEXPIRE", "INCR", "PEXPIRE"]]


async def test_credentials_of_another_user_than_from_are_refused() -> None:
    """The password is right, so no failure is counted."""
    async with service(digest_max_failures="1") as at:
        for sender in ("bob@example.org", "alice@other.example"):
            who = {"From": f"<sip:{sender}>;tag=1"}
            told = await first_challenge(at)
            response = await ask(at, signed(credentials(told), f"as-{sender}", **who))
            assert (response.status, response.reason) == (403, "From Does Not Match Credentials")
        assert await requests_in(at) == 0
        assert (await ask(at, signed(credentials(await first_challenge(at))))).status == 202


async def test_a_user_is_the_same_at_every_port() -> None:
    """A port in From names a device."""
    async with service() as at:
        who = {"From": "<sip:alice@Example.ORG:5071>;tag=1"}
        told = await first_challenge(at, **who)
        assert (await ask(at, signed(credentials(told), **who))).status == 202


async def test_credentials_made_for_another_uri_are_refused() -> None:
    """RFC 7616 §3.4.6. URI parameters may differ: proxies change them."""
    async with service() as at:
        told = await first_challenge(at)
        for uri in ("sip:chat-001@example.org", "chat-000", "tel:123"):
            response = await ask(at, signed(credentials(told, uri=uri)))
            assert (response.status, response.reason) == (400, "Digest URI Does Not Match Request-URI")
        assert (await ask(at, signed(credentials(told, uri=f"{URI};transport=udp")))).status == 202


async def test_an_algorithm_that_was_not_offered_is_challenged_again() -> None:
    """So nobody can be made to use a weaker one, even with the right password."""
    async with service() as at:
        told = await first_challenge(at)
        response = await ask(at, signed(credentials(told, algorithm="MD5")))
        assert response.status == 401
        assert await requests_in(at) == 0


async def test_a_user_without_a_hash_for_the_algorithm_is_challenged_again() -> None:
    """The user was added before MD5 was configured."""
    async with service(digest_algorithms="MD5") as at:
        user = "carol@example.org"
        await Users(at.store).add(user, hashes_of(user, PASSWORD, ["SHA-256"]))  # type: ignore[arg-type]
        who = {"From": f"<sip:{user}>;tag=1"}
        told = await first_challenge(at, **who)
        assert (await ask(at, signed(credentials(told, username="carol"), **who))).status == 401


@pytest.mark.parametrize(
    "value",
    [
        "Digest",
        "Digest ",
        'Digest username="alice"',
        'Digest username="", realm="", nonce="", uri="", response=""',
        'Digest username="alice", username="alice"',
        "Digest " + "a=b," * 500,
    ],
)
async def test_malformed_credentials_get_400_or_401(value: str) -> None:
    """Also empty values, which crashed other SIP stacks."""
    async with service() as at:
        response = await ask(at, signed(value))
        assert response.status in {400, 401}
        assert await requests_in(at) == 0


@pytest.mark.parametrize("field", ["username", "realm", "cnonce", "response", "uri"])
async def test_credentials_that_are_not_utf8_get_400_or_401(field: str) -> None:
    """They are hashed as they are, and match nothing."""
    async with service() as at:
        value = credentials(await first_challenge(at))
        before = dict(part.split("=", 1) for part in value.removeprefix("Digest ").split(", "))[field]
        data = signed(value).replace(f"{field}={before}".encode(), f"{field}=".encode() + b'"\xff\xfe\\""')
        assert (await ask(at, data)).status in {400, 401}


async def test_basic_credentials_are_challenged() -> None:
    """Basic shows the password to everybody on the way."""
    async with service() as at:
        assert (await ask(at, signed("Basic YWxpY2U6eA=="))).status == 401


async def test_requests_get_503_while_redis_is_unreachable() -> None:
    """Nobody is authenticated, and nobody is told that the password is wrong."""
    async with service() as at:
        told = await first_challenge(at)
        at.store.unreachable = True  # type: ignore[attr-defined]
        response = await ask(at, signed(credentials(told)))
        assert response.status == 503
        assert "Retry-After" in response.headers
        at.store.unreachable = False  # type: ignore[attr-defined]
        assert (await ask(at, signed(credentials(told, 2), "third"))).status == 202


@pytest.mark.parametrize("command", ["GET", "HGET", "INCR", "PEXPIRE", "SET", "PTTL"])
async def test_an_error_reply_of_redis_at_any_step_is_one_503(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key of a wrong type, no memory left: one response, and the edge goes on."""
    async with service() as at:
        store: Any = at.store
        told = await first_challenge(at)
        reply_to = store._reply

        async def fail(given: Any) -> Any:
            return ReplyError("OOM") if given[0] == command else await reply_to(given)

        password = "wrong" if command in {"INCR", "PEXPIRE"} else PASSWORD
        request = signed(credentials(told, password=password))
        if command == "PTTL":  # it is asked about a retransmission only
            assert (await ask(at, request)).status == 202
        with monkeypatch.context() as patch:
            patch.setattr(store, "_reply", fail)
            flow = FakeFlow()
            at.acceptor.receive(request, flow)
            await at.acceptor.authenticator.lookups.drain(asyncio.get_running_loop().time() + PATIENCE)
            assert [response.status for response in flow.responses] == [503]
        assert (await ask(at, signed(credentials(told, 2), "third"))).status == 202


async def test_a_failure_counter_that_is_not_a_number_gets_503() -> None:
    """Somebody wrote it by hand. Other sources are not concerned."""
    async with service() as at:
        told = await first_challenge(at)
        await ask(at, signed(credentials(told, password="wrong")))
        counter = Attempt(ALICE, "192.0.2.1", None).at_source()  # type: ignore[arg-type]
        await at.store._client.set(counter, "many")  # type: ignore[attr-defined]
        assert (await ask(at, signed(credentials(told, 2), "third"))).status == 503
        assert (await ask(at, signed(credentials(told, 3), "4"), peer="198.51.100.9")).status == 202


async def test_requests_get_503_if_too_many_wait_for_authentication(monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue for Redis is bounded here, too."""
    async with service() as at:
        told = await first_challenge(at)
        monkeypatch.setattr(at.acceptor.authenticator.lookups._commit, "_max_waiting", 0)
        assert (await ask(at, signed(credentials(told)))).status == 503


async def test_reload_switches_digest_on_and_off() -> None:
    """Without a restart."""
    async with service() as at:
        at.acceptor.reload(at.settings.model_copy(update={"identity": "from"}))
        assert (await ask(at, message(Call_ID="a"))).status == 202
        at.acceptor.reload(at.settings)
        assert (await ask(at, message(Call_ID="b"))).status == 401


async def test_mutated_credentials_get_one_response_and_authenticate_nobody() -> None:
    """No exception, no second response, and no other sender than Alice."""
    mutator = Mutator(random.Random(7))
    async with service(digest_algorithms=",".join(ALL), digest_max_failures="0") as at:
        told = challenges(await ask(at, message()))
        corpus = [signed(credentials(each, 0 if each.algorithm == "MD5" else 1)) for each in told]
        for _ in range(1500):
            data = mutator.mutate(corpus)
            if data.startswith(b"SIP/2.0 "):
                continue
            flow = FakeFlow()
            at.acceptor.receive(data, flow)
            await at.settle()
            assert not flow.sent or not flow.sent[0][0].startswith(b"SIP/2.0 500"), data
            assert len(flow.sent) <= 1, data
        lookups = at.acceptor.authenticator.lookups
        await lookups.drain(asyncio.get_running_loop().time() + 30)
        await at.acceptor.commit.drain(asyncio.get_running_loop().time() + 30)
        streams = await at.store.run([("XRANGE", keys.requests(n), "-", "+") for n in range(16)])
        senders = {fields[fields.index(b"from") + 1] for stream in streams for _, fields in stream}
        assert {sender.partition(b":")[0] for sender in senders} <= {ALICE.encode()}


# --- keys that nonces are signed with
