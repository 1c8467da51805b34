"""Well-formed SIP values and requests for property tests, built from the grammar, not with the codec."""

from __future__ import annotations

import string

from hypothesis import settings
from hypothesis import strategies as st

unhurried = settings(max_examples=60)  # whole messages take long to generate

_TOKEN = string.ascii_letters + string.digits + "-.!%*_+`'~"
_ALNUM = string.ascii_letters + string.digits

tokens = st.text(_TOKEN, min_size=1, max_size=20)
labels = st.text(_ALNUM, min_size=1, max_size=10)
names = st.builds(lambda head, top: ".".join([*head, f"a{top}"]), st.lists(labels, max_size=3), labels)
ipv4 = st.ip_addresses(v=4).map(str)
ipv6 = st.ip_addresses(v=6).map(lambda address: f"[{address}]")
hosts = st.one_of(names, ipv4, ipv6)
ports = st.one_of(st.none(), st.integers(1, 65_535))
escapes = st.integers(0, 255).map(lambda code: f"%{code:02X}")


def _escaped(alphabet: str, **sizes: int) -> st.SearchStrategy[str]:
    return st.lists(st.one_of(st.sampled_from(alphabet), escapes), **sizes).map("".join)


users = _escaped(_ALNUM + "-_.!~*'()&=+$,;?/", min_size=1, max_size=12)
_param_text = _escaped(_ALNUM + "-_.!~*'()[]/:&+$", min_size=1, max_size=8)
_uri_params = st.dictionaries(_param_text.map(str.lower), st.one_of(st.none(), _param_text), max_size=3).map(
    lambda params: "".join(
        f";{name}" if value is None else f";{name}={value}" for name, value in params.items()
    )
)


@st.composite
def uris(draw: st.DrawFn) -> str:
    """A sip or sips URI."""
    user = draw(st.one_of(st.none(), users))
    port = draw(ports)
    return (
        draw(st.sampled_from(["sip:", "sips:"]))
        + ("" if user is None else f"{user}@")
        + draw(hosts)
        + ("" if port is None else f":{port}")
        + draw(_uri_params)
    )


_quoted = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=12).map(
    lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
)
display_names = st.one_of(st.just(""), tokens, st.lists(tokens, max_size=3).map(" ".join), _quoted)
header_params = st.dictionaries(tokens.map(str.lower), st.one_of(st.none(), tokens, _quoted), max_size=3).map(
    lambda params: "".join(
        f";{name}" if value is None else f";{name}={value}" for name, value in params.items()
    )
)


@st.composite
def name_addrs(draw: st.DrawFn) -> str:
    """A From or To value."""
    name = draw(display_names)
    return f"{name} <{draw(uris())}>" + draw(st.one_of(st.just(""), tokens.map(lambda tag: f";tag={tag}")))


@st.composite
def vias(draw: st.DrawFn) -> str:
    """A Via value."""
    port = draw(ports)
    where = draw(hosts) + ("" if port is None else f":{port}")
    rport = draw(st.sampled_from(["", ";rport"]))
    return (
        f"SIP/2.0/{draw(st.sampled_from(['UDP', 'TCP', 'TLS']))} {where};branch=z9hG4bK{draw(tokens)}{rport}"
    )


_line = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=30).map(
    lambda text: text.strip(" ")
)
_simple = st.text(string.ascii_letters, min_size=1, max_size=8)
_simple_uris = st.builds(
    lambda user, host, port: f"sip:{user}@{host}{port}",
    users,
    st.one_of(ipv4, st.builds("{}.{}".format, labels, _simple)),
    st.sampled_from(["", ":5060", ";transport=tcp", ":6000;lr"]),
)


@st.composite
def simple_requests(draw: st.DrawFn) -> bytes:
    """A MESSAGE that sipmessage can parse: no IPv6, no digits in top labels, no escapes in quotes."""
    via = f"SIP/2.0/UDP {draw(_simple)}.example.com;branch=z9hG4bK{draw(labels)}"
    return (
        f"MESSAGE {draw(_simple_uris)} SIP/2.0\r\n"
        f"{draw(st.sampled_from(['Via', 'v', 'VIA']))}: {via}, {via}a\r\n"
        f"{draw(st.sampled_from(['From', 'f']))}: "
        f'"{draw(_simple)}, x" <{draw(_simple_uris)}>;tag={draw(labels)}\r\n'
        f"To: {draw(_simple)}<{draw(_simple_uris)}>\r\n"
        f"Call-ID: {draw(labels)}\r\nCSeq: {draw(st.integers(0, 2**31 - 1))} MESSAGE\r\n"
        f"Max-Forwards: {draw(st.integers(0, 255))}\r\nContent-Type: text/plain\r\n\r\n"
    ).encode() + draw(st.binary(max_size=50))


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A well-formed MESSAGE with headers in any order and names in any case."""
    body = draw(st.binary(max_size=200))
    fields = [("Via", via) for via in draw(st.lists(vias(), min_size=1, max_size=3))]
    fields += [
        ("From", draw(name_addrs())),
        ("To", draw(name_addrs())),
        ("Call-ID", draw(tokens) + "@" + draw(names)),
        ("CSeq", f"{draw(st.integers(0, 2**31 - 1))} MESSAGE"),
        ("Max-Forwards", str(draw(st.integers(0, 255)))),
        ("Content-Type", "text/plain;charset=utf-8"),
        ("Content-Length", str(len(body))),
    ]
    fields += draw(st.lists(st.tuples(tokens.map(lambda name: f"X-{name}"), _line), max_size=3))
    fields = draw(st.permutations(fields))
    case = draw(st.sampled_from([str.upper, str.lower, str]))
    head = f"MESSAGE {draw(uris())} SIP/2.0\r\n" + "".join(
        f"{case(name)}: {value}\r\n" for name, value in fields
    )
    return head.encode() + b"\r\n" + body
