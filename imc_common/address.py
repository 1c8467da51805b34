"""Addresses: the identity of a user or a room, in canonical form.

Escapes of unreserved characters are decoded, other escapes are in upper case, the host is in lower case (RFC
3261 §19.1.4). Scheme, password, URI parameters and headers are not part of it.

Nor is the port, if the host is a name: ``user@host``. Behind a literal IP address there is no domain that
says who a user is, so the port is part of the identity: ``user@192.0.2.1:5062``.

``sip:`` and an address are always a valid SIP URI.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import quote

from imc_common.errors import ImcError

_MARK = "-_.!~*'()"
_USER_UNRESERVED = "&=+$,;?/"
PLAIN_USER = r"[A-Za-z0-9\-_.!~*'()&=+$,;?/]++"
"""Pattern of a user part that is already canonical."""
_is_plain_user = re.compile(PLAIN_USER).fullmatch
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})?")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789" + _MARK)
# What may be typed as a user part: every user part that a member can have, so that each can be named. These
# are the characters of RFC 3261's `user`, and escapes of all but line ends. Other printable characters become
# escapes, except `<`, `>` and `@`, which stand around a user part.
_TYPED_USER = re.compile(
    r"""(?: [A-Za-z0-9\-_.!~*'()&=+$,;?/]
          | ["\#\[\]^`{|}\\]
          | [^\x00-\x9f\s]
          | %(?! 0[AaDd] ) [0-9A-Fa-f]{2}
        )+""",
    re.VERBOSE,
).fullmatch
# Half of a character, as in the JSON text "\ud800": it has no UTF-8. Those that stand for a byte (PEP 383)
# are escaped.
_LONE_SURROGATE = re.compile(r"[\ud800-\udc7f\udd00-\udfff]").search
# The last label of a name starts with a letter, as in SIP messages (`imc_common.sip.host`). So "127.1" and
# "2130706433", which resolvers read as 127.0.0.1, are not valid.
_HOST_NAME = re.compile(r"(?=.{1,255}\Z)(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?\.)*"
                        r"[A-Za-z_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?\.?").fullmatch  # fmt: skip
_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(?::([0-9]{1,5}))?").fullmatch
_PORT = re.compile(r":[0-9]+\Z")
_SCHEME = re.compile(r"sips?:", re.IGNORECASE)

MAX_ADDRESS = 256
"""Maximum length of an address in characters: the common limit of SIP servers for a URI."""


class AddressError(ImcError):
    """A text is not an address. The error says what is wrong with it."""


def canonical(user: str, host: str, port: int | None = None) -> str:
    """The address for the parts of a parsed URI; `user` with its escapes."""
    if _is_plain_user(user) is None:
        user = _canonical_user(user)
    host = host.lower()
    if host[0:1] == "[":
        host = _canonical_ipv6(host)
    elif host[-1:] == ".":
        host = host[:-1]  # a fully qualified name with its root dot is the same host
    return f"{user}@{_place(host, port)}"


def _place(host: str, port: int | None) -> str:
    """Host and port as a part of an identity: a port counts only behind a literal address."""
    if port is None or not _is_literal(host):
        return host
    return f"{host}:{port}"


def _is_literal(host: str) -> bool:
    """Whether a valid host is an IP address: the last label of a name starts with no digit."""
    return host[0:1] == "[" or host[host.rfind(".") + 1 :][0:1].isdigit()


def parse(text: str) -> str:
    """The address in ``[sip:]user[:password]@host[:port][;…][?…]``. Raises AddressError."""
    scheme = _SCHEME.match(text)
    rest = text[scheme.end() :] if scheme else text
    user, at, tail = rest.partition("@")
    if not at:
        raise AddressError("it has no @")
    user = parse_user(user.partition(":")[0])
    # a user part may contain ';' and '?', a host may not: split after the '@'
    return of(user, parse_host(re.split("[;?]", tail, maxsplit=1)[0]))


def of(user: str, host_port: str) -> str:
    """The address for results of `parse_user` and `parse_host`."""
    host = domain("@" + host_port)
    return f"{user}@{host_port if _is_literal(host) else host}"


def without_case(address: str) -> str:
    """The address with its ASCII letters in lower case: for `case_sensitive_users = false`."""
    return _ESCAPE.sub(lambda escape: escape[0].upper(), address.lower())


def parse_user(text: str) -> str:
    """The canonical form of a typed user part. Raises AddressError."""
    if not text:
        raise AddressError("the user part is empty")
    if _TYPED_USER(text) is None or _LONE_SURROGATE(text):
        raise AddressError("the user part has a character that is not allowed")
    user = _canonical_user(text)
    if len(user) > MAX_ADDRESS:
        raise AddressError("it is too long")
    return user


def parse_host(text: str) -> str:
    """The canonical form of a typed ``host[:port]``. Raises AddressError."""
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
    """The address without its port."""
    return _PORT.sub("", address) if ":" in address else address


def counted_as(address: str) -> str:
    """Whom a limit counts: the user at every port, and in every case.

    A proxy may authenticate a user whatever the case of its name, and the sender chooses it.
    """
    return without_port(address).lower()


def _canonical_user(user: str) -> str:
    """Decode unneeded escapes and escape what must be escaped (RFC 3261 §25.1 `user`)."""

    def replace(match: re.Match[str]) -> str:
        if match[1] is None:
            return "%25"
        char = chr(int(match[1], 16))
        return char if char in _UNRESERVED else match[0].upper()

    # surrogates stand for bytes of the message that were not UTF-8: each becomes an escape
    return quote(_ESCAPE.sub(replace, user), safe=_MARK + _USER_UNRESERVED + "%", errors="surrogateescape")


def _is_ipv4(host: str) -> bool:
    try:
        IPv4Address(host)
    except AddressValueError:
        return False
    return True


def _canonical_ipv6(host: str) -> str:
    """RFC 5954: IPv6 references are equal if their 128 bits are. An invalid one loses its brackets."""
    try:
        return f"[{IPv6Address(host[1:-1]).compressed}]"
    except AddressValueError:
        return host[1:-1]
