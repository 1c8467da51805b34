"""The identity of a user or a room: ``user@host[:port]``, one spelling for each.

Two URIs that RFC 3261 §19.1.4 calls equivalent in user, host and port give one address: escapes of unreserved
characters are undone, other escapes are kept in upper case, the host is in lower case. Scheme, password, URI
parameters and headers are no part of it. An address is always a valid SIP URI after ``sip:``.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import quote

from imc_common.errors import ImcError

_MARK = "-_.!~*'()"
_USER_UNRESERVED = "&=+$,;?/"
PLAIN_USER = r"[A-Za-z0-9\-_.!~*'()&=+$,;?/]++"
"""Pattern of a user part that is canonical as it stands."""
_is_plain_user = re.compile(PLAIN_USER).fullmatch
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})?")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789" + _MARK)
# What a person may type as a user part: the characters of RFC 3261's `user`, escapes of printable
# characters, and letters beyond ASCII, which become escapes. Escaped controls and quotes are refused: they
# would only ever serve to smuggle something past a reader of the name.
_TYPED_USER = re.compile(
    r"""(?: [A-Za-z0-9\-_.!~*'()&=+$,;?/]
          | [^\x00-\x9f\s]
          | %(?! [01][0-9A-Fa-f] | 22 | 27 | 7[Ff] ) [0-9A-Fa-f]{2}
        )+""",
    re.VERBOSE,
).fullmatch
# A name's last label starts with a letter, as in what comes by SIP (`imc_common.sip.host`): so "127.1" and
# "2130706433", which resolvers take for 127.0.0.1, are no hosts.
_HOST_NAME = re.compile(r"(?=.{1,255}\Z)(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?\.)*"
                        r"[A-Za-z_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?\.?").fullmatch  # fmt: skip
_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(?::([0-9]{1,5}))?").fullmatch
_PORT = re.compile(r":[0-9]+\Z")
_SCHEME = re.compile(r"sips?:", re.IGNORECASE)

MAX_ADDRESS = 256
"""Longest address taken, in characters: the limit SIP servers commonly set for a URI."""


class AddressError(ImcError):
    """A text is no address; says what is wrong with it."""


def canonical(user: str, host: str, port: int | None = None) -> str:
    """The address of an already parsed URI's parts; `user` still escaped as it stood in the URI."""
    if _is_plain_user(user) is None:
        user = _canonical_user(user)
    host = host.lower()
    if host[0:1] == "[":
        host = _canonical_ipv6(host)
    elif host[-1:] == ".":
        host = host[:-1]  # a fully qualified name with its root dot is the same host
    return f"{user}@{host}" if port is None else f"{user}@{host}:{port}"


def parse(text: str) -> str:
    """The canonical address of ``[sip:]user[:password]@host[:port][;…][?…]``, or `AddressError`."""
    scheme = _SCHEME.match(text)
    rest = text[scheme.end() :] if scheme else text
    user, at, tail = rest.partition("@")
    if not at:
        raise AddressError("there is no @ in it")
    user = parse_user(user.partition(":")[0])
    # ';' and '?' may stand in a user part but never in a host, so cutting comes after the '@'
    return f"{user}@{parse_host(re.split('[;?]', tail, maxsplit=1)[0])}"


def parse_user(text: str) -> str:
    """The canonical user part of one typed by a person; `AddressError` where it cannot be one."""
    if not text:
        raise AddressError("the user part is empty")
    if _TYPED_USER(text) is None:
        raise AddressError("the user part has a character that is not allowed")
    user = _canonical_user(text)
    if len(user) > MAX_ADDRESS:
        raise AddressError("it is too long")
    return user


def parse_host(text: str) -> str:
    """The canonical ``host[:port]`` of one typed by a person; `AddressError` where it cannot be one."""
    match = _HOST_PORT(text)
    if match is None:
        raise AddressError("the host is not valid")
    host, port = match[1].lower(), match[2]
    if host.startswith("["):
        host = _canonical_ipv6(host)
        if not host.startswith("["):
            raise AddressError("the IPv6 address is not valid")
    elif _HOST_NAME(host):
        host = host.rstrip(".")
    elif not _is_ipv4(host):
        raise AddressError("the host is not valid")
    if port is None:
        return host
    if not 0 < int(port) < 65536:
        raise AddressError("the port is not valid")
    return f"{host}:{int(port)}"


def split(address: str) -> tuple[str, str]:
    """User part and ``host[:port]`` of a canonical address."""
    user, _, host_port = address.partition("@")
    return user, host_port


def domain(address: str) -> str:
    """The host of a canonical address, without its port."""
    host_port = address.partition("@")[2]
    if host_port.startswith("["):
        return host_port.partition("]")[0] + "]"
    return host_port.partition(":")[0]


def without_port(address: str) -> str:
    """The canonical address of the same user at no port in particular."""
    return _PORT.sub("", address) if ":" in address else address


def _canonical_user(user: str) -> str:
    """Undo what need not be escaped, escape what may not stand bare (RFC 3261 §25.1 `user`)."""

    def replace(match: re.Match[str]) -> str:
        if match[1] is None:
            return "%25"
        char = chr(int(match[1], 16))
        return char if char in _UNRESERVED else match[0].upper()

    # surrogates stand for bytes that were no UTF-8 in the message: each becomes its own escape
    return quote(_ESCAPE.sub(replace, user), safe=_MARK + _USER_UNRESERVED + "%", errors="surrogateescape")


def _is_ipv4(host: str) -> bool:
    try:
        IPv4Address(host)
    except AddressValueError:
        return False
    return True


def _canonical_ipv6(host: str) -> str:
    """RFC 5954: IPv6 references are the same when their 128 bits are; what is none comes back bare."""
    try:
        return f"[{IPv6Address(host[1:-1]).compressed}]"
    except AddressValueError:
        return host[1:-1]
