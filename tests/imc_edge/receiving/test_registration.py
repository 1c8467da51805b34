"""What a REGISTER of a trusted peer means (RFC 3261 §10), and what its response says."""

from __future__ import annotations

import pytest

from imc_common.sip import Request, SipError, parse_message
from imc_edge.receiving.registration import Registration, registration_of
from tests.imc_edge.doubles import edge, message

CAROL = "carol@example.org"


def register(*contacts: str, **headers: str) -> bytes:
    """A REGISTER of carol with these Contact lines."""
    lines = [f"Contact: {contact}" for contact in contacts]
    given = {"To": f"<sip:{CAROL}>", "From": f"<sip:{CAROL}>;tag=1", **headers}
    return message(b"", method="REGISTER", uri="sip:example.org", lines=lines, **given)


def read(data: bytes, *, ignores_case: bool = False) -> Registration:
    """What the edge understands."""
    request = parse_message(data)
    assert isinstance(request, Request)
    return registration_of(request, ignores_case=ignores_case)


@pytest.mark.parametrize(
    ("contacts", "expires", "meaning", "bound"),
    [
        pytest.param(("<sip:c@192.0.2.7>",), None, "online", [3600], id="no expiry named"),
        pytest.param(("<sip:c@192.0.2.7>",), "60", "online", [60], id="Expires"),
        pytest.param(("<sip:c@192.0.2.7>;expires=20",), "60", "online", [20], id="the parameter first"),
        pytest.param(("<sip:c@192.0.2.7>;expires=x",), "0", "online", [3600], id="malformed, §10.2.1.1"),
        pytest.param(("<sip:c@192.0.2.7>",), "0", "offline", [], id="Expires 0, §10.2.2"),
        pytest.param(("<sip:c@192.0.2.7>;expires=0",), "60", "offline", [], id="expires=0, §10.2.2"),
        pytest.param(("*",), "0", "offline", [], id="all bindings, §10.2.2"),
        pytest.param((), None, "query", [], id="no Contact, §10.2.3"),
        pytest.param((), "0", "query", [], id="no Contact with Expires 0"),
        pytest.param(
            ("<sip:c@192.0.2.7>;expires=0, <sip:c@192.0.2.8>", "sip:c@192.0.2.9"),
            "90",
            "online",
            [90, 90],
            id="one device of three left",
        ),
    ],
)  # fmt: skip
def test_contacts_and_expires_say_whether_the_user_is_there(
    contacts: tuple[str, ...], expires: str | None, meaning: str, bound: list[int]
) -> None:
    """The response repeats the contacts that do not expire now."""
    found = read(register(*contacts, **({} if expires is None else {"Expires": expires})))
    assert (found.user, found.meaning) == (CAROL, meaning)
    assert [int(contact.partition(">;expires=")[2]) for contact in found.contacts] == bound


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(register("*"), 400, id="* without Expires, §10.3"),
        pytest.param(register("*", Expires="60"), 400, id="* with another Expires"),
        pytest.param(register("*, <sip:c@h>", Expires="0"), 400, id="* and another contact"),
        pytest.param(register("<sip:c@h>", Require="path, x-new"), 420, id="Require, §8.2.2.3"),
        pytest.param(register("<sip:c@h>", To="<tel:+4930123>"), 404, id="no SIP user"),
        pytest.param(register("<sip:c@h>", To="<sip:example.org>"), 404, id="no user part"),
        pytest.param(register("<sip:c@h>", To=f"<sip:{'c' * 300}@a.org>"), 404, id="too long a name"),
        pytest.param(register(*["<sip:c@192.0.2.7>"] * 17), 403, id="too many contacts"),
    ],
)  # fmt: skip
def test_what_breaks_a_rule_is_refused(data: bytes, status: int) -> None:
    """With the status that RFC 3261 names."""
    with pytest.raises(SipError) as error:
        read(data)
    assert error.value.status == status


@pytest.mark.parametrize("required", ["path", "path, outbound", "Gruu"])
def test_what_is_required_of_a_registrar_is_nothing_to_refuse(required: str) -> None:
    """RFC 3327, 5626, 5627: an edge keeps no bindings. A P-CSCF requires ``path`` in each REGISTER."""
    assert read(register("<sip:c@192.0.2.7>", Require=required)).meaning == "online"


def test_the_user_is_the_one_that_rooms_know() -> None:
    """A third party's From does not count (§10.2), the port only behind an address, the case if the setting
    says so."""
    third = register(
        "<sip:scscf@10.0.0.1>", From="<sip:scscf@10.0.0.1>;tag=1", To="<sip:Carol@Example.org:5070>"
    )
    assert read(third).user == "Carol@example.org"
    assert read(third, ignores_case=True).user == CAROL


async def test_the_200_has_contacts_and_date() -> None:
    """RFC 3261 §10.3; a client that gets it by mistake must not think that it is unregistered."""
    async with edge() as at:
        response = await at.ask_one(register("<sip:carol@192.0.2.7:5070;ob>;expires=60"))
        assert response.status == 200
        assert response.headers.get("Contact") == "<sip:carol@192.0.2.7:5070;ob>;expires=60"
        assert response.headers.get("Date") == "Tue, 14 Nov 2023 22:13:20 GMT"


async def test_a_malformed_contact_is_refused_though_a_message_may_have_it() -> None:
    """RFC 4475 §3.1.2.13."""
    async with edge() as at:
        assert (await at.ask_one(register("<sip:c@[::1>"))).status == 400
        assert (await at.ask_one(message(lines=["Contact: <sip:c@[::1>"]))).status == 202


async def test_only_trusted_peers_register() -> None:
    """Anybody else could say that a user is there, or gone."""
    async with edge() as at:
        assert (await at.ask_one(register("<sip:c@192.0.2.7>"), peer="198.51.100.1")).status == 405
        assert at.store.batches == []
