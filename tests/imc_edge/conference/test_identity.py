"""Who sends an INVITE or a SUBSCRIBE is found as the sender of a MESSAGE: by password, or by a proxy's word.

Covers acceptor.py and authenticator.py for these methods.
"""

from __future__ import annotations

from typing import Any

from imc_common import keys
from imc_common.sip import Response
from tests.imc_edge.conference.requests import FACTORY, GRUU, invite, subscribe
from tests.imc_edge.doubles import Edge, edge
from tests.imc_edge.identity.fake_edges import ask, challenges, credentials, requests_in, service
from tests.imc_edge.receiving.test_conferences import answer, entry

STRANGER = "198.51.100.9"


async def test_an_invite_needs_the_users_password() -> None:
    """RFC 3261 §22: from any peer, whose Record-Route does not count."""
    async with service() as at:
        challenged = await ask(at, invite("sip:bob@example.org"), STRANGER)
        assert challenged.status == 401
        signature = credentials(challenges(challenged)[0], method="INVITE", uri=FACTORY)
        signed = invite("sip:bob@example.org", CSeq="2 INVITE", Authorization=signature)
        accepted = await ask(at, signed, STRANGER)
        assert (accepted.status, await requests_in(at)) == (200, 1)
        assert (await ask(at, signed, STRANGER)).headers.items == accepted.headers.items
        assert await requests_in(at) == 1, "a retransmission has no second effect"


async def test_credentials_serve_for_what_they_were_used_for() -> None:
    """A stranger who sees them cannot have the roster sent elsewhere (RFC 7616 §3.4.3: only the URI is
    covered)."""
    async with service() as at:
        first = await ask(at, subscribe(Call_ID="first"))
        signature = credentials(challenges(first)[0], method="SUBSCRIBE", uri="sip:chat-000@example.org")
        honest = subscribe(CSeq="2 SUBSCRIBE", Authorization=signature)
        assert (await ask(at, honest)).status == 404, "there is no such room, but she may ask"
        other = "<sip:alice@example.org;gr=urn:uuid:mallory>"
        replayed = subscribe(CSeq="2 SUBSCRIBE", Authorization=signature, Contact=other)
        assert (await ask(at, replayed, STRANGER)).status == 401
        late = subscribe(CSeq="3 SUBSCRIBE", Authorization=signature)
        assert (await ask(at, late)).status == 401


async def test_all_that_an_invite_says_of_its_room_is_noted_with_the_credentials() -> None:
    """Also the marks that its invitees get, and a header that comes twice."""
    async with service() as at:
        first = await ask(at, invite(Call_ID="first"))
        signature = credentials(challenges(first)[0], method="INVITE", uri=FACTORY)
        assert (await ask(at, invite(CSeq="2 INVITE", Authorization=signature))).status == 200
        for further in ({"Ephemerable": "true"}, {"Content-Encoding": "identity\r\nContent-Encoding: x"}):
            replayed = invite(CSeq="2 INVITE", Authorization=signature, **further)
            assert (await ask(at, replayed, STRANGER)).status == 401


async def test_another_users_credentials_do_not_fit() -> None:
    """From has to be the user who has the password."""
    async with service() as at:
        first = await ask(at, invite(Call_ID="first"))
        signature = credentials(challenges(first)[0], method="INVITE", uri=FACTORY, username="bob")
        assert (await ask(at, invite(CSeq="2 INVITE", Authorization=signature))).status == 403


async def test_a_trusted_proxy_may_assert_the_sender() -> None:
    """RFC 3325: the device is one of the asserted user, whatever From says."""
    async with edge(identity="asserted") as at:
        gruu = "sip:zed@example.org;gr=urn:uuid:z"
        asserted = {"P-Asserted-Identity": "<sip:zed@example.org>", "Contact": f"<{gruu}>"}
        assert (await answer(at, subscribe(**asserted))).status == 200
        assert (entry(at).sender, entry(at).device) == (
            "zed@example.org",
            "zed@example.org;gr=urn:uuid:fe1a357b",
        )
        unasserted: Response = await answer(at, subscribe(Call_ID="x"))
        assert unasserted.status == 403
        foreign = await answer(
            at,
            subscribe(Call_ID="y", Contact=f"<{GRUU}>", **{"P-Asserted-Identity": "<sip:zed@example.org>"}),
        )
        assert foreign.status == 403, "notifications would go to Alice"


async def dialogs(at: Edge) -> list[bytes]:
    """What the requests to the workers say of their dialogs."""
    commands: list[Any] = [("XRANGE", keys.requests(shard), "-", "+") for shard in range(16)]
    entries = [entry for page in await at.store.run(commands) for entry in page]
    return [fields[fields.index(b"dialog") + 1] for _, fields in entries]


async def test_routes_of_strangers_are_ignored() -> None:
    """Or they would say where our requests go. A trusted proxy's are kept."""
    async with service() as at:
        for peer, routes in ((STRANGER, b'"routes":[]'), ("192.0.2.1", b'"routes":["<sip:192.0.2.1;lr>"')):
            nonce = challenges(await ask(at, invite(Call_ID=f"ask {peer}".replace(" ", "")), peer))[0]
            signature = credentials(nonce, method="INVITE", uri=FACTORY)
            signed = invite(CSeq="2 INVITE", Call_ID=f"call{peer}", Authorization=signature)
            assert (await ask(at, signed, peer)).status == 200
            assert any(routes in each for each in await dialogs(at))
