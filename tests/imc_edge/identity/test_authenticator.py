"""Digest authentication of the sender (RFC 3261 §22, RFC 7616, RFC 8760)."""

from __future__ import annotations

import asyncio
import random
import re
from typing import Any

import pytest

from imc_common import keys
from imc_common.store import ReplyError
from imc_common.users import Users, hashes_of
from imc_edge.identity.guesses import Attempt
from tests.imc_edge.doubles import FakeFlow, message
from tests.imc_edge.identity.fake_edges import (
    ALICE,
    ALL,
    PASSWORD,
    URI,
    ask,
    challenges,
    credentials,
    first_challenge,
    requests_in,
    service,
    signed,
)
from tests.mutator import Mutator
from tests.patience import PATIENCE


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
