"""How a delivery goes on after its first request: targets, contacts, credentials, sizes (RFC 3261 §8.1.3).

Also covers credentials.py, redirection.py and retry_state.py, and back_off.py and next_hop.py of `routing/`.
"""

from __future__ import annotations

import asyncio

import pytest

from imc_common.rooms.request import RequestData
from imc_common.settings import Settings
from imc_common.sip.auth import parse_digest
from imc_common.sip.digest import digest, digest_response
from imc_edge.flow import Hop
from imc_edge.routing.resolver import Destination, ResolveError, Resolver
from imc_edge.routing.targets import SrvTarget, Targets
from imc_edge.transports.pool import ConnectError
from tests.imc_edge.sending import Clock, Sending, on_loopback

BOB = "bob@127.0.0.1:5071"
ELSEWHERE = "bob@example.org"
ONE, TWO = Hop("udp", "127.0.0.11", 5060, "example.org"), Hop("udp", "127.0.0.12", 5060, "example.org")
BIG = RequestData("text/html", b"x" * 1300, max_forwards=69)


class Zone(Resolver):
    """Resolves the names of the test, and notes each query."""

    def __init__(self, **names: list[Hop]) -> None:
        super().__init__(Clock())
        self.names = {name.replace("_", "."): hops for name, hops in names.items()}
        self.asked: list[Destination] = []

    async def resolve(self, destination: Destination) -> Targets:
        self.asked.append(destination)
        await asyncio.sleep(0)
        if destination.host not in self.names:
            raise ResolveError("no such name")
        return Targets.of([[SrvTarget(0, (hop,))] for hop in self.names[destination.host]], 1100.0)


def zone() -> Zone:
    """example.org has two servers, the first preferred."""
    return Zone(example_org=[ONE, TWO])


def outcomes(sending: Sending) -> list[tuple[str, ...]]:
    """Recipients and outcomes as they were settled."""
    return [args[5:] for args in sending.redis.of("settle")]


async def test_rfc_3263_4_3_on_503_the_next_target_is_tried_with_a_new_branch() -> None:
    """The same request otherwise: Call-ID, CSeq, From tag."""
    async with Sending(resolver=zone()) as sending:
        await sending.event(to=(ELSEWHERE,))
        first = sending.wires.sent[0]
        assert first.hop == ONE
        await sending.reply(first, 503)
        second = sending.wires.sent[1]
        assert second.hop == TWO
        for header in ("Call-ID", "CSeq", "From", "To"):
            assert second.request.headers.get(header) == first.request.headers.get(header)
        assert second.request.via.branch != first.request.via.branch
        await sending.reply(second)
        assert len(sending.redis.of("settle_delivered")) == 1


async def test_rfc_3263_4_3_after_a_timeout_the_next_target_is_tried() -> None:
    """One server that is silent does not mean that the recipient is."""
    async with Sending(resolver=zone()) as sending:
        await sending.event(to=(ELSEWHERE,))
        await sending.pass_time(32.3)
        assert sending.wires.sent[-1].hop == TWO
        await sending.reply(sending.wires.sent[-1])
        assert len(sending.redis.of("settle_delivered")) == 1


async def test_each_request_has_the_via_of_its_own_hop() -> None:
    """Although the part that most recipients' requests share is made once."""
    async with Sending() as sending:
        for name in ("a", "b"):
            await sending.event(to=(f"{name}@127.0.0.21", f"{name}@127.0.0.22;transport=tcp"))
        assert [sent.hop.transport for sent in sending.wires.sent] == ["udp", "tcp"] * 2
        assert all(
            sent.request.vias[0].transport.lower() == sent.hop.transport for sent in sending.wires.sent
        )


async def test_rfc_3263_4_3_on_a_transport_error_the_next_target_is_tried() -> None:
    """And the failed one is backed off for a moment, for other recipients as well."""
    async with Sending(resolver=zone()) as sending:
        sending.wires.broken[ONE.transport, ONE.host, ONE.port] = ConnectionRefusedError()
        await sending.event(to=(ELSEWHERE,))
        assert [sent.hop for sent in sending.wires.sent] == [ONE, TWO]
        await sending.event(to=("carol@example.org",))
        assert [sent.hop for sent in sending.wires.sent] == [ONE, TWO, TWO]


async def test_a_482_from_the_second_target_counts_as_delivered() -> None:
    """The first one had passed it on after all."""
    async with Sending(resolver=zone()) as sending:
        await sending.event(to=(ELSEWHERE,))
        await sending.reply(sending.wires.sent[0], 503)
        await sending.reply(sending.wires.sent[1], 482)
        assert len(sending.redis.of("settle_delivered")) == 1


async def test_21_5_4_a_503_with_retry_after_backs_the_hop_off() -> None:
    """Other deliveries go to the next target at once, and to the first again after that time."""
    async with Sending(resolver=zone()) as sending:
        await sending.event(to=(ELSEWHERE,))
        await sending.reply(sending.wires.sent[0], 503, "Retry-After: 60 (busy);duration=30")
        await sending.event(to=("carol@example.org",))
        assert [sent.hop for sent in sending.wires.sent] == [ONE, TWO, TWO]
        for sent in sending.wires.sent[1:]:
            sending.deliver.response(sent.response(200))
        sending.clock.now += 61
        await sending.event(to=("carol@example.org",))
        assert sending.wires.sent[-1].hop == ONE


async def test_a_single_target_with_a_short_retry_after_is_waited_for() -> None:
    """Up to the time that a silent target gets."""
    async with Sending() as sending:
        await sending.event(to=(BOB,))
        await sending.reply(sending.wires.sent[0], 503, "Retry-After: 5")
        await sending.pass_time(4.8)
        assert len(sending.wires.sent) == 1
        await sending.pass_time(0.5)
        assert len(sending.wires.sent) == 2
        await sending.reply(sending.wires.sent[1])
        assert len(sending.redis.of("settle_delivered")) == 1


async def test_a_503_of_a_single_target_without_retry_after_is_a_failure() -> None:
    """It is a 500 (RFC 3261 §21.5.4)."""
    async with Sending() as sending:
        await sending.event(to=(BOB,))
        await sending.reply(sending.wires.sent[0], 503)
        assert outcomes(sending) == [(BOB, "503", "0")]


async def test_21_5_4_a_single_target_is_asked_again_after_seconds_whatever_retry_after_says() -> None:
    """Until the time is over that a silent one gets; then it is a failure."""
    async with Sending() as sending:
        await sending.event(to=(BOB,))
        for sent in range(4):
            assert len(sending.wires.sent) == sent + 1
            await sending.reply(sending.wires.sent[sent], 503, "Retry-After: 3600")
            await sending.pass_time(10.2)
        assert outcomes(sending) == [(BOB, "503", "0")]


async def test_21_5_4_one_recipient_does_not_stop_deliveries_through_the_only_proxy() -> None:
    """A stateless proxy passes on the 503 of a client behind it; its long messages may come over TCP."""
    async with Sending(Settings(outbound_proxy="sip:127.0.0.1:5099")) as sending:
        for data in (RequestData("text/html", b"short", max_forwards=69), BIG):
            await sending.event(to=("eve@example.org",), data=data)
        for _ in range(2):
            await sending.reply(sending.wires.sent[-1], 503, "Retry-After: 3600")
            await sending.event(to=("bob@example.org",))
            assert sending.wires.sent[-1].recipient == "bob@example.org"
            await sending.reply(sending.wires.sent[-1])
            await sending.pass_time(10.2)
            await sending.reply(sending.wires.sent[-1])
        assert len(sending.redis.of("settle_delivered")) == 4


async def test_21_5_4_nobody_waits_long_for_a_hop_that_is_the_last_one_left() -> None:
    """A recipient had all avoid the first server for an hour; then the second one fails."""
    async with Sending(resolver=zone()) as sending:
        await sending.event(to=("eve@example.org",))
        await sending.reply(sending.wires.sent[0], 503, "Retry-After: 3600")
        await sending.reply(sending.wires.sent[1], 503, "Retry-After: 3600")
        sending.wires.broken[TWO.transport, TWO.host, TWO.port] = ConnectionRefusedError()
        await sending.event(to=(ELSEWHERE,))
        await sending.pass_time(12)
        sent = next(each for each in sending.wires.sent if each.recipient == ELSEWHERE and each.hop == ONE)
        await sending.reply(sent)
        assert len(sending.redis.of("settle_delivered")) == 1


async def test_a_single_target_that_refuses_connections_is_tried_again_for_32_s() -> None:
    """A proxy that restarts loses no message; one that stays down is a transport error, 503."""
    settings = on_loopback(outbound_proxy="sip:127.0.0.1:5099;transport=tcp")
    async with Sending(settings) as sending:
        sending.wires.broken["tcp", "127.0.0.1", 5099] = ConnectionRefusedError()
        await sending.event(to=(BOB,))
        await sending.pass_time(10)
        assert 8 <= len(sending.wires.sent) <= 11
        del sending.wires.broken["tcp", "127.0.0.1", 5099]
        await sending.pass_time(2)
        await sending.reply(sending.wires.sent[-1])
        assert len(sending.redis.of("settle_delivered")) == 1
        sending.wires.broken["tcp", "127.0.0.1", 5099] = ConnectionRefusedError()
        await sending.event(to=(BOB,))
        await sending.pass_time(33)
        assert outcomes(sending) == [(BOB, "503", "0")]


async def test_8_1_3_4_contacts_of_a_3xx_are_followed_once_each_best_first() -> None:
    """New Request-URI, same To; loops of redirections end."""
    async with Sending() as sending:
        await sending.event(to=(BOB,))
        best = '"B, C" <sip:b?b@127.0.0.1:6002;x=y;method=INVITE?Evil=1>;q=0.9'
        contacts = f"<sip:bob@127.0.0.1:6001>;q=0.2, {best}"
        await sending.reply(sending.wires.sent[0], 302, f"Contact: {contacts}")
        second = sending.wires.sent[1]
        assert second.request.uri == "sip:b?b@127.0.0.1:6002;x=y"
        assert second.hop.port == 6002
        assert second.recipient == BOB
        assert "Evil" not in second.request.headers
        await sending.reply(second, 302, f"Contact: <sip:{BOB}>, <sip:b?b@127.0.0.1:6002;x=y>")
        third = sending.wires.sent[2]
        assert third.hop.port == 6001
        await sending.reply(third, 486)
        assert outcomes(sending) == [(BOB, "486", "0")]


async def test_a_3xx_without_a_usable_contact_is_a_failure() -> None:
    """mailto, maddr and malformed contacts are not followed."""
    async with Sending() as sending:
        await sending.event(to=(BOB,))
        contacts = "Contact: <mailto:bob@example.org>, <sip:bob@127.0.0.1;maddr=10.0.0.1>"
        await sending.reply(sending.wires.sent[0], 302, contacts, "Contact: <<<")
        assert len(sending.wires.sent) == 1
        assert outcomes(sending) == [(BOB, "403", "0")]


async def test_21_6_a_6xx_ends_the_search() -> None:
    """Other contacts are not tried any more."""
    async with Sending() as sending:
        await sending.event(to=(BOB,))
        await sending.reply(sending.wires.sent[0], 302, "Contact: <sip:127.0.0.1:6001>, <sip:127.0.0.1:6002>")
        await sending.reply(sending.wires.sent[1], 603)
        assert len(sending.wires.sent) == 2
        assert outcomes(sending) == [(BOB, "603", "0")]


@pytest.mark.parametrize(
    ("status", "asks", "credentials"),
    [(401, "WWW-Authenticate", "Authorization"), (407, "Proxy-Authenticate", "Proxy-Authorization")],
)
@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256", "SHA-512-256"])
async def test_22_2_a_challenge_gets_the_configured_credentials(
    status: int, asks: str, credentials: str, algorithm: str
) -> None:
    """Same Call-ID and From tag, CSeq one higher, digest as in RFC 7616."""
    settings = on_loopback(credentials=("imc:s3:cr@t@example.org",))
    async with Sending(settings) as sending:
        await sending.event(to=(BOB,))
        challenge = (
            f'Digest realm="example.org", nonce="n1", qop="auth,auth-int", algorithm={algorithm}, opaque="o"'
        )
        await sending.reply(sending.wires.sent[0], status, f"{asks}: {challenge}")
        first, second = (sent.request for sent in sending.wires.sent)
        assert second.call_id == first.call_id
        assert second.from_.tag == first.from_.tag
        assert second.cseq.number == first.cseq.number + 1
        given = parse_digest(second.headers.get(credentials) or "")
        ha1 = digest(algorithm, "imc:example.org:s3:cr@t")
        assert given["opaque"] == "o"
        assert given["response"] == digest_response(
            algorithm, ha1, "MESSAGE", second.uri, "n1", cnonce=given["cnonce"], count=given["nc"]
        )
        await sending.reply(sending.wires.sent[1])
        assert len(sending.redis.of("settle_delivered")) == 1


async def test_22_3_a_second_refusal_of_the_same_realm_is_a_failure() -> None:
    """Unless the nonce was only stale, once."""
    settings = on_loopback(credentials=("imc:wrong@example.org",))
    challenge = 'WWW-Authenticate: Digest realm="example.org", nonce="n{}"{}'
    async with Sending(settings) as sending:
        await sending.event(to=(BOB,))
        await sending.reply(sending.wires.sent[0], 401, challenge.format(1, ""))
        await sending.reply(sending.wires.sent[1], 401, challenge.format(2, ", stale=true"))
        await sending.reply(sending.wires.sent[2], 401, challenge.format(3, ", stale=true"))
        assert len(sending.wires.sent) == 3
        assert outcomes(sending) == [(BOB, "401", "0")]


async def test_a_challenge_without_credentials_is_a_failure() -> None:
    """Another realm, another algorithm, no digest at all."""
    settings = on_loopback(credentials=("imc:secret@example.org",))
    for challenge in (
        'Digest realm="example.net", nonce="n"',
        'Digest realm="example.org", nonce="n", algorithm=SHA-1',
        'Digest realm="example.org", nonce="n", qop="auth-int"',
        'Basic realm="example.org"',
        "rubbish",
    ):
        async with Sending(settings) as sending:
            await sending.event(to=(BOB,))
            await sending.reply(sending.wires.sent[0], 401, f"WWW-Authenticate: {challenge}")
            assert outcomes(sending) == [(BOB, "401", "0")]


async def test_rfc_8760_the_strongest_of_several_challenges_is_used() -> None:
    """Whatever their order."""
    settings = on_loopback(credentials=("imc:secret@example.org",))
    async with Sending(settings) as sending:
        await sending.event(to=(BOB,))
        kinds = ("MD5", "SHA-512-256", "SHA-256")
        lines = [
            f'WWW-Authenticate: Digest realm="example.org", nonce="n", algorithm={kind}' for kind in kinds
        ]
        await sending.reply(sending.wires.sent[0], 401, *lines)
        assert "algorithm=SHA-512-256" in (sending.wires.sent[1].request.headers.get("Authorization") or "")


async def test_18_1_1_a_request_over_1300_bytes_goes_over_tcp() -> None:
    """The length of the complete request counts: 1,300 bytes are still a datagram."""
    async with Sending() as sending:
        await sending.event(to=(BOB,), data=RequestData("text/html", b"x" * 800, max_forwards=69))
        await sending.reply(sending.wires.sent[0])
        fitting = 1300 - len(sending.wires.sent[0].data) + 800
        for length, transport in ((fitting, "udp"), (fitting + 1, "tcp")):
            await sending.event(to=(BOB,), data=RequestData("text/html", b"x" * length, max_forwards=69))
            sent = sending.wires.sent[-1]
            assert sent.hop == Hop(transport, "127.0.0.1", 5071)
            assert sent.request.via.transport == transport.upper()
            assert len(sent.data) == 1300 - fitting + length
            await sending.reply(sent)


async def test_18_1_1_a_long_request_goes_over_udp_only_if_tcp_is_refused() -> None:
    """Not after a timeout."""
    async with Sending() as sending:
        refused = ConnectError("refused")
        refused.__cause__ = ConnectionRefusedError()
        sending.wires.broken["tcp", "127.0.0.1", 5071] = refused
        await sending.event(to=(BOB,), data=BIG)
        assert [sent.hop.transport for sent in sending.wires.sent] == ["tcp", "udp"]
        await sending.reply(sending.wires.sent[1])
        assert len(sending.redis.of("settle_delivered")) == 1
    for error in (TimeoutError(), ConnectionResetError("was open, and broke")):
        async with Sending() as sending:
            sending.wires.broken["tcp", "127.0.0.1", 5071] = error
            await sending.event(to=(BOB,), data=BIG)
            assert [sent.hop.transport for sent in sending.wires.sent] == ["tcp"]


async def test_a_long_request_goes_over_udp_after_two_connections_broke() -> None:
    """As with a proxy whose buffer for TCP is shorter than the message. One may break because it restarts."""
    async with Sending() as sending:
        sending.wires.broken["tcp", "127.0.0.1", 5071] = ConnectionResetError("was open, and broke")
        await sending.event(to=(BOB,), data=BIG)
        await sending.pass_time(1.2)
        assert [sent.hop.transport for sent in sending.wires.sent] == ["tcp", "tcp", "udp"]
        await sending.reply(sending.wires.sent[2])
        assert len(sending.redis.of("settle_delivered")) == 1


async def test_a_recipient_whose_domain_cannot_be_resolved_fails() -> None:
    """And the name is not looked up again for every delivery."""
    resolver = zone()
    async with Sending(resolver=resolver) as sending:
        for _ in range(3):
            await sending.event(to=("bob@nowhere.example",))
        assert outcomes(sending) == [("bob@nowhere.example", "no-target", "0")] * 3
        assert len(resolver.asked) == 1


async def test_many_deliveries_to_one_domain_resolve_it_once() -> None:
    """And again when the time to live is over."""
    resolver = zone()
    async with Sending(resolver=resolver) as sending:
        await sending.event(to=[f"user{n}@example.org" for n in range(20)])
        assert len(sending.wires.sent) == 20
        assert len(resolver.asked) == 1
        sending.clock.now = 1101
        await sending.event(to=("someone@example.org",))
        assert len(resolver.asked) == 2


async def test_everything_goes_to_the_outbound_proxy_if_there_is_one() -> None:
    """Request-URI and To stay the recipient's; requests to contacts go there, too."""
    async with Sending(Settings(outbound_proxy="sip:192.0.2.99:5080;transport=tcp")) as sending:
        await sending.event(to=(BOB, ELSEWHERE))
        assert {sent.hop for sent in sending.wires.sent} == {Hop("tcp", "192.0.2.99", 5080)}
        assert [sent.request.uri for sent in sending.wires.sent] == [f"sip:{BOB}", f"sip:{ELSEWHERE}"]
        await sending.reply(sending.wires.sent[0], 302, "Contact: <sip:bob@127.0.0.1:6001>")
        assert sending.wires.sent[2].hop.host == "192.0.2.99"
        assert sending.wires.sent[2].request.uri == "sip:bob@127.0.0.1:6001"


async def test_a_thousand_failures_in_a_queue_do_not_recurse() -> None:
    """Each failure starts the next delivery."""
    async with Sending(resolver=zone()) as sending:
        await asyncio.gather(*(sending.event(to=("bob@nowhere.example",)) for _ in range(300)))
        await sending.until(lambda: len(outcomes(sending)) >= 300)
        assert len(outcomes(sending)) == 300


async def test_credentials_that_make_a_request_too_long_for_a_datagram_move_it_to_tcp() -> None:
    """The length of the complete request counts."""
    settings = on_loopback(credentials=("imc:secret@example.org",))
    async with Sending(settings) as sending:
        await sending.event(to=(BOB,), data=RequestData("text/html", b"x" * 780, max_forwards=69))
        assert sending.wires.sent[0].hop.transport == "udp"
        challenge = f'WWW-Authenticate: Digest realm="example.org", nonce="{"n" * 400}"'
        await sending.reply(sending.wires.sent[0], 401, challenge)
        assert sending.wires.sent[1].hop.transport == "tcp"
        assert len(sending.wires.sent[1].data) > 1300


async def test_rfc_3428_7_an_expired_message_is_not_retried() -> None:
    """The pause that a 503 asks for ends after the message has expired."""
    async with Sending() as sending:
        expires = int(sending.clock.wall() * 1000) + 2_000
        await sending.event(
            to=(BOB,),
            data=RequestData("text/plain", b"soon", max_forwards=69, display_name="", expires_at=expires),
        )
        await sending.reply(sending.wires.sent[0], 503, "Retry-After: 5")
        await sending.pass_time(6)
        assert len(sending.wires.sent) == 1
        assert sending.redis.of("settle")[-1][5:] == (BOB, "expired", "0")
