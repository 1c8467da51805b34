"""Who proves to be whom by a password (RFC 3261 §22, RFC 7616, RFC 8760)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from imc_common import keys
from imc_common.rooms.request import RETRANSMISSION_SECONDS
from imc_common.sip import Response
from imc_common.sip.auth import Authorization, Challenge
from imc_common.sip.digest import digest, digest_response
from imc_common.store import ReplyError
from imc_common.users import Users, hashes_of
from imc_edge.identity import nonces
from imc_edge.identity.nonces import KeyFileError, NonceKeys, Nonces
from tests.fake_store import FakeStore
from tests.imc_edge.doubles import Edge, FakeFlow, edge, message
from tests.mutator import Mutator
from tests.patience import PATIENCE

ALICE, PASSWORD = "alice@example.org", "wonder land"
URI = "sip:chat-000@example.org"
ALL = ("SHA-512-256", "SHA-256", "MD5")


@asynccontextmanager
async def service(store: FakeStore | None = None, **settings: Any) -> AsyncIterator[Edge]:
    """An edge that asks for passwords, and knows Alice and Bob."""
    own = store is None
    store = store or FakeStore()
    if own:
        for user in (ALICE, "bob@example.org", "alice@other.example"):
            await Users(store).add(user, hashes_of(user, PASSWORD, ALL))
    async with edge(store, identity="digest", **settings) as at:
        yield at


async def ask(at: Edge, data: bytes, peer: str = "192.0.2.1") -> Response:
    """The one answer; several round trips lie before it."""
    flow = FakeFlow("udp", (peer, 5062))
    at.acceptor.receive(data, flow)
    for _ in range(2000):
        if flow.sent:
            break
        await asyncio.sleep(0.001)
    (answer,) = flow.answers
    return answer


def challenges(answer: Response) -> list[Challenge]:
    return [Challenge.parse(value) for value in answer.headers.get_all("WWW-Authenticate")]


def credentials(challenge: Challenge, count: int = 1, password: str = PASSWORD, **other: Any) -> str:
    """The value of Authorization that answers a challenge, with ``other`` than the right parameters."""
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


async def test_who_has_shown_nothing_is_challenged_the_strongest_first() -> None:
    """RFC 8760 §2.4: one challenge for each algorithm; MD5 only where the operator wants it."""
    async with service() as at:
        ran = len(at.store.ran)  # type: ignore[attr-defined]
        answer = await ask(at, message())
        assert answer.status == 401
        told = challenges(answer)
        assert [each.algorithm for each in told] == ["SHA-512-256", "SHA-256"]
        assert all(each.qop and not each.stale and each.realm == "example.org" for each in told)
        assert len(at.store.ran) == ran  # type: ignore[attr-defined] # nobody makes us ask Redis for nothing
    async with service(digest_algorithms="md5,sha-256") as at:
        assert [each.algorithm for each in challenges(await ask(at, message()))] == ["SHA-256", "MD5"]


@pytest.mark.parametrize("algorithm", ALL)
async def test_the_right_password_is_taken(algorithm: str) -> None:
    """Whatever peer it comes from."""
    async with service(digest_algorithms=",".join(ALL)) as at:
        told = {each.algorithm: each for each in challenges(await ask(at, message()))}
        answer = await ask(at, signed(credentials(told[algorithm])), peer="198.51.100.9")
        assert answer.status == 202
        assert await requests_in(at) == 1


async def test_an_old_client_without_qop_is_taken_with_md5_only_and_once_for_each_nonce() -> None:
    """RFC 2069's way has no nonce count: a nonce is good for one request."""
    async with service(digest_algorithms=",".join(ALL)) as at:
        told = {each.algorithm: each for each in challenges(await ask(at, message()))}
        old = credentials(told["MD5"], 0, cnonce="")
        assert (await ask(at, signed(old))).status == 202
        assert challenges(await ask(at, signed(old, "third")))[0].stale
        answer = await ask(at, signed(credentials(told["SHA-256"], 0, cnonce="")))
        assert (answer.status, answer.reason) == (400, "Digest Without Qop")


async def test_a_nonce_is_good_at_every_edge_and_for_many_requests() -> None:
    """Each with the next nonce count; in whatever order they come."""
    async with service() as one, service(one.store) as other:  # type: ignore[arg-type]
        told = await first_challenge(one)
        for count, at in [(1, other), (3, one), (2, other)]:
            answer = await ask(at, signed(credentials(told, count), f"message {count}".replace(" ", "-")))
            assert answer.status == 202
        assert await requests_in(one) == 3


async def test_credentials_that_were_used_are_refused_at_every_edge() -> None:
    """Failure case 38: a replay, also one with a new cnonce for a count that was used."""
    async with service() as one, service(one.store) as other:  # type: ignore[arg-type]
        told = await first_challenge(one)
        assert (await ask(one, signed(credentials(told)))).status == 202
        for again in (credentials(told), credentials(told, cnonce="another")):
            for at in (one, other):
                answer = await ask(at, signed(again, "replay"))
                assert answer.status == 401
                assert all(each.stale for each in challenges(answer))
        assert await requests_in(one) == 1


async def test_a_retransmission_gets_the_same_answer_at_every_edge() -> None:
    """RFC 3261 §8.2.7: it is no replay, though credentials and nonce count are the same."""
    async with service() as one, service(one.store) as other:  # type: ignore[arg-type]
        request = signed(credentials(await first_challenge(one)))
        answers = [(await ask(at, request)) for at in (one, other, one)]
        assert [(answer.status, answer.to.tag) for answer in answers] == [(202, answers[0].to.tag)] * 3
        assert await requests_in(one) == 1


async def test_the_whole_request_again_after_it_was_forgotten_is_refused() -> None:
    """Requests are known for 64 s, a nonce may last longer: then nothing is taken anew on a used count."""
    async with service() as at:
        request = signed(credentials(await first_challenge(at)))
        assert (await ask(at, request)).status == 202
        shard = keys.shard_of("chat-000@example.org", 4)
        forgotten = await at.store.run([("DEL", keys.seen(shard, "recent"))])  # type: ignore[arg-type]
        assert forgotten == [1]
        await minute_passes(at)
        answer = await ask(at, request)
        assert (answer.status, challenges(answer)[0].stale) == (401, True)
        assert await requests_in(at) == 1


async def minute_passes(at: Edge) -> None:
    """For what Redis knows of the nonce count that was used."""
    client = at.store._client  # type: ignore[attr-defined]
    (use,) = await client.keys("imc:*:nonce:*")
    await client.pexpire(use, await client.pttl(use) - 60_000)


async def test_a_request_whose_edge_is_stopped_before_it_takes_it_is_taken_by_another_and_is_one() -> None:
    """Its edge has noted the use of the nonce; a 401 to the retry would have the client send a second one."""
    async with service() as one, service(one.store) as other:  # type: ignore[arg-type]
        request = signed(credentials(await first_challenge(one)))
        held: list[Any] = []
        submit = one.acceptor.commit.submit
        one.acceptor.commit.submit = lambda *given: held.append(given) or True  # type: ignore[method-assign]
        flow = FakeFlow("udp", ("192.0.2.1", 5062))
        one.acceptor.receive(request, flow)
        for _ in range(2000):
            if held:
                break
            await asyncio.sleep(0.001)
        assert (await ask(other, request)).status == 202
        for command, pending in held:
            submit(command, pending)
        await one.acceptor.commit.drain(asyncio.get_running_loop().time() + 30)
        assert [answer.status for answer in flow.answers] == [202]
        assert await requests_in(one) == 1


async def test_a_request_that_was_never_taken_is_refused_when_no_retransmission_can_come_any_more() -> None:
    """Its edge died; whoever has recorded it must not be able to send it for as long as the nonce lasts."""
    async with service() as one, service(one.store) as other:  # type: ignore[arg-type]
        request = signed(credentials(await first_challenge(one)))
        one.acceptor.commit.submit = lambda *given: True  # type: ignore[method-assign]
        one.acceptor.receive(request, FakeFlow())
        for _ in range(2000):
            if await one.store._client.keys("imc:*:nonce:*"):  # type: ignore[attr-defined]
                break
            await asyncio.sleep(0.001)
        await minute_passes(one)
        answer = await ask(other, request)
        assert (answer.status, challenges(answer)[0].stale) == (401, True)
        assert await requests_in(one) == 0


async def test_an_expired_nonce_is_called_stale() -> None:
    """RFC 7616 §3.3: the client may answer the new one without asking its user."""
    async with service(digest_nonce_ttl="60") as at:
        told = await first_challenge(at)
        at.now += 59
        assert (await ask(at, signed(credentials(told)))).status == 202
        at.now += 2
        answer = await ask(at, signed(credentials(told, 2), "third"))
        assert (answer.status, [each.stale for each in challenges(answer)]) == (401, [True, True])
        assert (await ask(at, signed(credentials(challenges(answer)[0]), "fourth"))).status == 202


async def test_what_was_taken_in_time_keeps_its_answer_when_the_nonce_runs_out() -> None:
    """A retransmission must not be answered 401, or its client sends the same once more as a new request."""
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
async def test_a_nonce_that_no_edge_made_is_stale_and_costs_no_look_in_redis(nonce: str) -> None:
    """It cannot be told from one of ours that was made long ago."""
    async with service() as at:
        told = await first_challenge(at)
        ran = len(at.store.ran)  # type: ignore[attr-defined]
        answer = await ask(at, signed(credentials(told, nonce=nonce or "-")))
        assert (answer.status, challenges(answer)[0].stale) == (401, True)
        assert len(at.store.ran) == ran  # type: ignore[attr-defined]


async def test_a_nonce_is_good_for_its_realm_only() -> None:
    """What one domain's users are told is no use with another's."""
    async with service() as at:
        told = await first_challenge(at, From="<sip:alice@other.example>;tag=1")
        assert told.realm == "other.example"
        answer = await ask(at, signed(credentials(told, realm="example.org")))
        assert (answer.status, challenges(answer)[0].stale) == (401, True)


async def test_known_and_unknown_users_are_answered_alike() -> None:
    """Failure case 33, svwar: status, challenges and round trips tell nothing."""
    answers = []
    for user in ("alice", "nobody"):
        async with service() as at:
            who = {"From": f"<sip:{user}@example.org>;tag=1"}
            plain = await ask(at, message(Call_ID="first", **who))
            told = challenges(plain)[0]
            ran = len(at.store.ran)  # type: ignore[attr-defined]
            wrong = await ask(at, signed(credentials(told, password="wrong", username=user), **who))
            trips = [[command[0] for command in batch] for batch in at.store.ran[ran:]]  # type: ignore[attr-defined]
            answers.append([
                answer.to_bytes().replace(user.encode(), b"USER") for answer in (plain, wrong)
            ] + [trips])  # fmt: skip
    assert answers[0] == answers[1]
    assert answers[0][2] == [["GET", "HGET"], ["INCR", "PEXPIRE"]]


async def test_somebody_elses_name_is_refused() -> None:
    """Failure case 37: the credentials are right, only the From is not theirs; no guess is counted."""
    async with service(digest_max_failures="1") as at:
        for sender in ("bob@example.org", "alice@other.example"):
            who = {"From": f"<sip:{sender}>;tag=1"}
            told = await first_challenge(at)
            answer = await ask(at, signed(credentials(told), f"as-{sender}", **who))
            assert (answer.status, answer.reason) == (403, "From Does Not Match Credentials")
        assert await requests_in(at) == 0
        assert (await ask(at, signed(credentials(await first_challenge(at))))).status == 202


async def test_a_user_is_the_same_at_every_port() -> None:
    """A port in From names a device of theirs."""
    async with service() as at:
        who = {"From": "<sip:alice@Example.ORG:5071>;tag=1"}
        told = await first_challenge(at, **who)
        assert (await ask(at, signed(credentials(told), **who))).status == 202


async def test_credentials_made_for_another_uri_are_refused() -> None:
    """RFC 7616 §3.4.6; parameters of the URI may differ, proxies change them."""
    async with service() as at:
        told = await first_challenge(at)
        for uri in ("sip:chat-001@example.org", "chat-000", "tel:123"):
            answer = await ask(at, signed(credentials(told, uri=uri)))
            assert (answer.status, answer.reason) == (400, "Digest URI Does Not Match Request-URI")
        assert (await ask(at, signed(credentials(told, uri=f"{URI};transport=udp")))).status == 202


async def test_md5_is_refused_where_it_was_not_offered() -> None:
    """Failure case 38: no way down to what is weaker, even with the right password."""
    async with service() as at:
        told = await first_challenge(at)
        answer = await ask(at, signed(credentials(told, algorithm="MD5")))
        assert answer.status == 401
        assert await requests_in(at) == 0


async def test_a_user_without_the_hash_for_an_algorithm_is_asked_again() -> None:
    """Added before the operator allowed MD5."""
    async with service(digest_algorithms="MD5") as at:
        user = "carol@example.org"
        await Users(at.store).add(user, hashes_of(user, PASSWORD, ["SHA-256"]))  # type: ignore[arg-type]
        who = {"From": f"<sip:{user}>;tag=1"}
        told = await first_challenge(at, **who)
        assert (await ask(at, signed(credentials(told, username="carol"), **who))).status == 401


async def test_too_many_wrong_passwords_shut_user_and_source_out_at_every_edge() -> None:
    """Failure case 33, svcrack: even the right password is refused then; elsewhere it is not."""
    few = {"digest_max_failures": "3"}
    async with service(**few) as one, service(one.store, **few) as other:  # type: ignore[arg-type]
        told = await first_challenge(one)
        for count in range(1, 4):
            wrong = credentials(told, count, password=f"guess {count}")
            assert (await ask((one, other)[count % 2], signed(wrong, f"guess-{count}"))).status == 401
        for at in (one, other):
            answer = await ask(at, signed(credentials(told, 9), f"right-{id(at)}"))
            assert (answer.status, answer.reason) == (403, "Too Many Failures")
        assert (await ask(one, signed(credentials(told, 10), "elsewhere"), peer="198.51.100.9")).status == 202
        (counter,) = await one.store._client.keys("imc:*:failures:*")  # type: ignore[attr-defined]
        assert 0 < await one.store._client.pttl(counter) <= 300_000  # type: ignore[attr-defined]


async def test_guesses_from_one_ipv6_network_count_together() -> None:
    """One host may own a /64."""
    async with service(digest_max_failures="3") as at:
        told = await first_challenge(at)
        for count in range(1, 4):
            wrong = signed(credentials(told, count, password="guess"), f"guess-{count}")
            assert (await ask(at, wrong, peer=f"2001:db8::{count}")).status == 401
        right = signed(credentials(told, 4), "right")
        assert (await ask(at, right, peer="2001:db8::4")).status == 403


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
async def test_malformed_credentials_are_a_fault_of_the_request(value: str) -> None:
    """Among the faults that audits of old stacks found: empty values in digest headers."""
    async with service() as at:
        answer = await ask(at, signed(value))
        assert answer.status in {400, 401}
        assert await requests_in(at) == 0


@pytest.mark.parametrize("field", ["username", "realm", "cnonce", "response", "uri"])
async def test_bytes_that_are_no_utf8_in_credentials_are_harmless(field: str) -> None:
    """They are hashed as they came, and match nothing."""
    async with service() as at:
        value = credentials(await first_challenge(at))
        before = dict(part.split("=", 1) for part in value.removeprefix("Digest ").split(", "))[field]
        data = signed(value).replace(f"{field}={before}".encode(), f"{field}=".encode() + b'"\xff\xfe\\""')
        assert (await ask(at, data)).status in {400, 401}


async def test_another_scheme_is_no_answer_to_a_challenge() -> None:
    """Basic would show the password."""
    async with service() as at:
        assert (await ask(at, signed("Basic YWxpY2U6eA=="))).status == 401


async def test_redis_out_of_reach_is_503() -> None:
    """Nobody is believed, and nobody told that their password is wrong."""
    async with service() as at:
        told = await first_challenge(at)
        at.store.unreachable = True  # type: ignore[attr-defined]
        answer = await ask(at, signed(credentials(told)))
        assert answer.status == 503
        assert "Retry-After" in answer.headers
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
            assert [answer.status for answer in flow.answers] == [503]
        assert (await ask(at, signed(credentials(told, 2), "third"))).status == 202


async def test_a_strange_counter_does_not_end_the_edge() -> None:
    """What somebody planted by hand."""
    async with service() as at:
        told = await first_challenge(at)
        await ask(at, signed(credentials(told, password="wrong")))
        (counter,) = await at.store._client.keys("imc:*:failures:*")  # type: ignore[attr-defined]
        await at.store._client.set(counter, "many")  # type: ignore[attr-defined]
        assert (await ask(at, signed(credentials(told, 2), "third"))).status == 503
        assert (await ask(at, signed(credentials(told, 3), "4"), peer="198.51.100.9")).status == 202


async def test_too_many_at_once_are_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for Redis is bounded here, too."""
    async with service() as at:
        told = await first_challenge(at)
        monkeypatch.setattr(at.acceptor.authenticator.lookups._commit, "_max_waiting", 0)
        assert (await ask(at, signed(credentials(told)))).status == 503


async def test_digest_can_be_switched_on_while_the_edge_runs() -> None:
    """And off again."""
    async with service() as at:
        at.acceptor.reload(at.settings.model_copy(update={"identity": "from"}))
        assert (await ask(at, message(Call_ID="a"))).status == 202
        at.acceptor.reload(at.settings)
        assert (await ask(at, message(Call_ID="b"))).status == 401


async def test_bent_credentials_get_one_answer_and_prove_nothing() -> None:
    """Whatever is done to a signed request: no exception, no second answer, and nobody but Alice speaks."""
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


async def test_a_rotated_key_signs_in_a_minute_and_the_old_one_checks_for_a_while() -> None:
    """No nonce becomes void before its time, and no edge meets a key that it has not read."""
    store, now = FakeStore(), 1_700_000_000.0
    signing = NonceKeys(store, "", lambda: now)  # type: ignore[arg-type]
    made = Nonces(signing, 300)
    old = made.make("example.org", b"saltsalt")
    await Users(store).rotate_key(now)
    await signing.read()
    first = signing.signing()
    assert made.age(old, "example.org") == 0
    now += 61
    assert signing.signing() != first
    young = made.make("example.org", b"saltsalt")
    unaware = Nonces(NonceKeys(store, "", lambda: now), 300)  # type: ignore[arg-type]
    assert unaware.age(young, "example.org") is None
    assert made.age(young, "example.org") == 0
    assert made.age(old, "example.org") == 61
    now += 300
    assert signing.checking(300) == [signing.signing()]


async def test_only_the_latest_keys_are_kept() -> None:
    """Rotating every day must not make the check slower each day."""
    store = FakeStore()
    for day in range(10):
        await Users(store).rotate_key(86_400.0 * day)
    (known,) = await store.run([("HKEYS", keys.DIGEST_KEYS)])
    assert sorted(map(int, known)) == [(86_400 * day + 60) * 1000 for day in range(6, 10)]


async def test_a_key_in_redis_that_is_none_is_left_out() -> None:
    """And when Redis is away those known stay."""
    store = FakeStore()
    await store.run([("HSET", keys.DIGEST_KEYS, "soon", "xyz", "1", "00ff")])
    signing = NonceKeys(store, "", lambda: 1_700_000_000.0)  # type: ignore[arg-type]
    await signing.read()
    assert signing.signing() == b"\x00\xff"
    store.unreachable = True
    await signing.read()
    assert signing.signing() == b"\x00\xff"


async def test_keys_are_read_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rotation reaches every edge without a signal."""
    monkeypatch.setattr(nonces, "READ_EVERY", 0.001)
    store = FakeStore()
    signing = NonceKeys(store, "", lambda: 1_700_000_000.0)  # type: ignore[arg-type]
    before = signing.signing()
    running = asyncio.ensure_future(signing.run())
    await Users(store).rotate_key(1.0)
    for _ in range(1000):
        if signing.signing() != before:
            break
        await asyncio.sleep(0.001)
    running.cancel()
    assert signing.signing() != before


async def test_secrets_of_a_file_take_the_place_of_those_in_redis(tmp_path: Path) -> None:
    """The first line signs, all check; read again on SIGHUP, kept where the file cannot be used."""
    file = tmp_path / "secrets"
    file.write_text("a" * 32 + "\n\n" + "b" * 40 + "\n")
    signing = NonceKeys(FakeStore(), str(file), lambda: 1_700_000_000.0)  # type: ignore[arg-type]
    await signing.read()
    assert signing.signing() == b"a" * 32
    assert signing.checking(300) == [b"a" * 32, b"b" * 40]
    file.write_text("short")
    with pytest.raises(KeyFileError, match="lines of at least 32 characters"):
        signing.reread()
    assert signing.signing() == b"a" * 32
    file.unlink()
    with pytest.raises(KeyFileError, match="No such file"):
        signing.reread()


def test_a_challenge_is_made_again_alike_for_a_retransmission() -> None:
    """Within its second; RFC 3261 §8.2.7 wants a stateless server to answer alike."""
    signing = NonceKeys(FakeStore(), "", lambda: 1_700_000_000.5)  # type: ignore[arg-type]
    made = Nonces(signing, 300)
    assert made.make("a", b"saltsalt") == made.make("a", b"saltsalt")
    assert made.make("a", b"saltsalt") != made.make("a", b"SALTSALT")
    assert made.age(made.make("a", b"saltsalt"), "b") is None


def test_a_nonce_from_far_ahead_is_none_of_ours() -> None:
    """What edges know of Redis's time may differ by half a minute, not by an hour."""

    def nonces_at(now: float) -> Nonces:
        return Nonces(NonceKeys(FakeStore(), "", lambda: now), 300)  # type: ignore[arg-type]

    ahead = nonces_at(1_700_000_029.0).make("a", b"saltsalt")
    far = nonces_at(1_700_003_600.0).make("a", b"saltsalt")
    now = nonces_at(1_700_000_000.0)
    assert now.age(ahead, "a") == -29
    assert now.age(far, "a") is None
