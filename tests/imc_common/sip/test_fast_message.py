"""The fast path gives the same values as the full parser, or leaves the message to it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imc_common.sip import Request, SipError, build_response, parse_message, validate_request
from imc_common.sip.fast_message import MAX_SIZE, parse_fast
from imc_common.sip.limits import DEFAULT, Limits
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
    """Whether the fast path accepts it; then both parsers must agree."""
    fast = parse_fast(data, DEFAULT)
    if fast is None:
        return False
    full = parse_message(data)
    assert isinstance(full, Request)
    validate_request(full)
    assert fast == full
    assert fast.headers.first == full.headers.first
    assert fast.headers.repeated == full.headers.repeated
    assert build_response(fast, 202, None, "tag", source=SOURCE) == build_response(
        full, 202, None, "tag", source=SOURCE
    )
    for name in VALUES:
        assert getattr(fast, name) == getattr(full, name), name
    for plain, uri in ((fast.plain_from, full.from_.uri), (fast.plain_to, full.to.uri)):
        assert not plain or plain == uri.address()
    return True


@pytest.mark.parametrize("data", [message(), *OTHERS])
def test_common_messages_take_the_fast_path(data: bytes) -> None:
    """With or without display name and port, in any order, with any body."""
    assert agree(data)


@pytest.mark.parametrize(
    "address",
    [
        "alice@example.org",
        "a@b",
        "alice@127.0.0.1",
        "alice@255.249.199.99:5060",
        "alice@under_score.example",
        "alice@3com.example",
        "a.b-c_d!e~f*g'(h)&=+$,;?/@192.0.2.1:59999",
    ],
)
def test_a_canonical_address_is_used_without_parsing(address: str) -> None:
    """In From and To, with any display name."""
    for name in ("", "Alice ", '"Alice B." '):
        data = message(**{"from": f"{name}<sip:{address}>;tag=a", "to": f"{name}<sip:{address}>"})
        assert agree(data)
        fast = parse_fast(data, DEFAULT)
        assert fast is not None
        assert fast.plain_from == fast.plain_to == address


@pytest.mark.parametrize(
    "uri",
    [
        "sip:alice@EXAMPLE.org",
        "sip:alice@example.org.",
        "sip:al%41ce@example.org",
        "sip:alice:secret@example.org",
        "sip:alice@example.org;transport=tcp",
        "sip:alice@example.org?subject=x",
        "sip:alice@example.org:5060",
        "sip:alice@192.0.2.1:05060",
        "sip:alice@192.0.2.1:65000",
        "sip:alice@[::1]",
        "sips:alice@example.org",
        "SIP:alice@example.org",
        "sip:example.org",
        "tel:1",
    ],
)
def test_any_other_address_is_parsed(uri: str) -> None:
    """Its canonical form may be the same."""
    data = message(**{"from": f"<{uri}>;tag=a", "to": f"<{uri}>"})
    assert agree(data)
    fast = parse_fast(data, DEFAULT)
    assert fast is not None
    assert fast.plain_from == fast.plain_to == ""


@unhurried
@given(st.text("aZ10259.-_:@%", min_size=1, max_size=14))
def test_both_paths_agree_on_any_text_as_host(text: str) -> None:
    """Invalid hosts, ports that are too high, repeated characters."""
    data = message(**{"from": f"<sip:a@{text}>;tag=a", "to": f"<sip:{text}>"})
    assert agree(data) == (parse_fast(data, DEFAULT) is not None)


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
        message(body=b"x" * MAX_SIZE, content_length=str(MAX_SIZE)),
        b"\r\n" + message(),
        message().replace(b"\r\n", b"\n"),
    ],
)
def test_unusual_messages_are_left_to_the_full_parser(data: bytes) -> None:
    """Even if that accepts it."""
    assert parse_fast(data, DEFAULT) is None


def test_the_fast_path_keeps_to_the_limits() -> None:
    """Also if they are smaller than the default."""
    assert parse_fast(message(), Limits(body=4)) is None
    assert parse_fast(message(), Limits(uri=10)) is None


@unhurried
@given(simple_requests())
def test_both_paths_agree_on_any_request(data: bytes) -> None:
    """Whether the fast path accepts it or not."""
    fast = parse_fast(data, DEFAULT)
    assert agree(data) == (fast is not None)


@unhurried
@given(st.integers(0, 2**32), st.sampled_from([message(), *OTHERS]))
def test_both_paths_agree_on_damaged_messages(seed: int, data: bytes) -> None:
    """Bytes changed, repeated, removed: the fast path never accepts what the full parser refuses."""
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
        assert agree(bytes(bent)) == (parse_fast(bytes(bent), DEFAULT) is not None)
    except SipError as error:
        pytest.fail(f"taken, but {error}: {bytes(bent)!r}")
