"""The short way gives what the thorough way gives, or leaves it to that."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imc_common.sip import Request, SipError, build_response, parse_message, validate_request
from imc_common.sip.limits import DEFAULT, Limits
from imc_common.sip.usual import LONGEST, usual_message
from tests.imc_common.sip.samples import message
from tests.imc_common.sip.strategies import simple_requests, unhurried

VALUES = (
    "via",
    "further_vias",
    "from_",
    "to",
    "call_id",
    "cseq",
    "max_forwards",
    "expires",
    "target",
    "content_type",
    "date",
    "from_tag",
    "from_name",
    "to_tag",
)
SOURCE = ("192.0.2.99", 40_000)
OTHERS = (
    message(via="SIP/2.0/UDP 192.0.2.10;rport;branch=z9hG4bKa"),
    message().replace(b"To:", b"User-Agent: A phone (1.0)\r\nTo:"),
    message().replace(b"To:", b'P-Asserted-Identity: "A" <sip:a@b>, tel:1\r\nTo:'),
    message().replace(b"To:", b'Authorization: Digest username="a\\"", nc=00000001\r\nTo:'),
    message(**{"from": '"Alice B." <sip:alice@example.com:5070;transport=tcp>;tag=a'}, body=b"#join"),
    message(**{"from": '"" <sip:alice%41@EXAMPLE.com>;tag=a'}, content_type="message/cpim"),
    message(content_length="0", body=b""),
    message(to="<mailto:chat-000@example.org>"),
    message(via=["SIP/2.0/UDP a;branch=z9hG4bKa", "SIP/2.0/UDP b;branch=z9hG4bKb"]),
    message(
        via=["SIP/2.0/UDP a;rport;branch=z9hG4bKa", "SIP/2.0/TLS [::1]:5061 ;received=b", "SIP/2.0/TCP c"]
    ),
)


def agree(data: bytes) -> bool:
    """Whether the short way takes it; then both ways must say the same."""
    usual = usual_message(data, DEFAULT)
    if usual is None:
        return False
    thorough = parse_message(data)
    assert isinstance(thorough, Request)
    validate_request(thorough)
    assert usual == thorough
    assert usual.headers.first == thorough.headers.first
    assert usual.headers.repeated == thorough.headers.repeated
    assert build_response(usual, 202, None, "tag", source=SOURCE) == build_response(
        thorough, 202, None, "tag", source=SOURCE
    )
    for name in VALUES:
        assert getattr(usual, name) == getattr(thorough, name), name
    for plain, uri in ((usual.plain_from, thorough.from_.uri), (usual.plain_to, thorough.to.uri)):
        assert not plain or plain == uri.address()
    return True


@pytest.mark.parametrize("data", [message(), *OTHERS])
def test_usual_messages_are_taken(data: bytes) -> None:
    """With a display name or none, a port or none, any order and body."""
    assert agree(data)


@pytest.mark.parametrize(
    "address",
    [
        "alice@example.org",
        "a@b",
        "alice@127.0.0.1",
        "alice@255.249.199.99:5060",
        "alice@under_score.example:1",
        "alice@3com.example:64999",
        "a.b-c_d!e~f*g'(h)&=+$,;?/@example.org:59999",
    ],
)
def test_an_address_that_stands_there_as_we_write_it_is_taken_as_it_is(address: str) -> None:
    """Of From and of To, whatever name stands before it."""
    for name in ("", "Alice ", '"Alice B." '):
        data = message(**{"from": f"{name}<sip:{address}>;tag=a", "to": f"{name}<sip:{address}>"})
        assert agree(data)
        usual = usual_message(data, DEFAULT)
        assert usual is not None
        assert usual.plain_from == usual.plain_to == address


@pytest.mark.parametrize(
    "uri",
    [
        "sip:alice@EXAMPLE.org",
        "sip:alice@example.org.",
        "sip:al%41ce@example.org",
        "sip:alice:secret@example.org",
        "sip:alice@example.org;transport=tcp",
        "sip:alice@example.org?subject=x",
        "sip:alice@example.org:05060",
        "sip:alice@example.org:65000",
        "sip:alice@[::1]",
        "sips:alice@example.org",
        "SIP:alice@example.org",
        "sip:example.org",
        "tel:1",
    ],
)
def test_any_other_address_is_looked_at_thoroughly(uri: str) -> None:
    """It may come to the same address in the end."""
    data = message(**{"from": f"<{uri}>;tag=a", "to": f"<{uri}>"})
    assert agree(data)
    usual = usual_message(data, DEFAULT)
    assert usual is not None
    assert usual.plain_from == usual.plain_to == ""


@unhurried
@given(st.text("aZ10259.-_:@%", min_size=1, max_size=14))
def test_whatever_stands_where_an_address_should_is_read_alike(text: str) -> None:
    """Hosts that are none, ports that are too high, two signs of each sort."""
    data = message(**{"from": f"<sip:a@{text}>;tag=a", "to": f"<sip:{text}>"})
    assert agree(data) == (usual_message(data, DEFAULT) is not None)


@pytest.mark.parametrize(
    "data",
    [
        message(to="<sip:chat-000@example.org>;tag=1"),
        message(to="sip:chat-000@example.org"),
        message(**{"from": "<sip:a@b"}),
        message(**{"from": '"a\\"b" <sip:alice@example.com>;tag=1'}),
        message(via=["SIP/2.0/UDP a;branch=z9hG4bKa", "SIP/2.0/UDP b;branch=z9hG4bKb, SIP/2.0/UDP c"]),
        message(via=["SIP/2.0/UDP a;branch=z9hG4bKa", ""]),
        message(via=["SIP/2.0/UDP a;branch=z9hG4bKa"] * 71),
        message().replace(b"Content-Length", b"Via: SIP/2.0/UDP b;branch=z9hG4bKb\r\nContent-Length"),
        message(via="SIP/2.0/UDP a:0;branch=z9hG4bKa"),
        message(via="SIP/2.0/UDP a:70000;branch=z9hG4bKa"),
        message(via="SIP/2.0/UDP a;branch=z9hG4bKa;branch=z9hG4bKb"),
        message(via="SIP/2.0/UDP a;branch=z9hG4bKa, SIP/2.0/UDP b;branch=z9hG4bKb"),
        message(cseq="1 OPTIONS"),
        message(content_length="4"),
        message(content_length="6"),
        message(content_length="+5"),
        message(max_forwards="-1"),
        message(require="x"),
        message(expires="10"),
        message().replace(b"To:", b"User-Agent: ends with a blank \r\nTo:"),
        message(line="MESSAGE sip:a@b?subject=x SIP/2.0"),
        message(line="MESSAGE tel:1 SIP/2.0"),
        message(line="MESSAGE  sip:a@b SIP/2.0"),
        message(call_id=["a", "b"]),
        *(message(without=name) for name in ("Via", "From", "To", "Call-ID", "CSeq", "Content-Length")),
        message(call_id="a\r\n b"),
        message(body=b"x" * LONGEST, content_length=str(LONGEST)),
        b"\r\n" + message(),
        message().replace(b"\r\n", b"\n"),
    ],
)
def test_what_needs_care_is_left_to_the_thorough_way(data: bytes) -> None:
    """Even where that would take it."""
    assert usual_message(data, DEFAULT) is None


def test_the_limits_are_those_of_the_edge() -> None:
    """A shorter body or Request-URI than usual may be set."""
    assert usual_message(message(), Limits(body=4)) is None
    assert usual_message(message(), Limits(uri=10)) is None


@unhurried
@given(simple_requests())
def test_any_request_is_read_alike(data: bytes) -> None:
    """Whichever way it goes."""
    usual = usual_message(data, DEFAULT)
    assert agree(data) == (usual is not None)


@unhurried
@given(st.integers(0, 2**32), st.sampled_from([message(), *OTHERS]))
def test_bent_messages_are_read_alike(seed: int, data: bytes) -> None:
    """Bytes changed, doubled, taken out: the short way never takes what the thorough way refuses."""
    rng = random.Random(seed)
    bent = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(bent))
        match rng.randrange(4):
            case 0:
                bent[at] = rng.choice(b'\x00\t\r\n ",;:<>@?=%[]0Aaz~\x7f\xc3')
            case 1:
                del bent[at]
            case 2:
                bent[at:at] = bent[at : at + rng.randint(1, 20)]
            case _:
                bent[at:at] = bytes([rng.choice(b'\r\n ;,<>"0a')])
    try:
        assert agree(bytes(bent)) == (usual_message(bytes(bent), DEFAULT) is not None)
    except SipError as error:
        pytest.fail(f"taken, but {error}: {bytes(bent)!r}")
