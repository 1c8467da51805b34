"""Types of settings: parse a value from text, and say what is wrong with it."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from string import Formatter
from typing import Annotated, Final, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator

from imc_common.address import AddressError, parse_host, parse_user
from imc_common.sip.ports import SIP_PORT

DB_SCHEMES: Final[tuple[str, ...]] = (
    "redis",
    "rediss",
    "unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
)
# Headers that imc sets in a delivery itself, or that would change its destination.
OWN_HEADERS = frozenset(
    """via v from f to t call-id i cseq max-forwards content-length l content-type c contact m route
    record-route in-reply-to require proxy-require authorization proxy-authorization auto-submitted
    expires date""".split()  # noqa: SIM905 # a list of words is easiest to read so
)
_HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)"
_ENDPOINT = re.compile(rf"(udp|tcp|tls):({_HOST}):([0-9]{{1,5}})").fullmatch
_PROXY = re.compile(
    rf"sips?:({_HOST})(?::([0-9]{{1,5}}))?(;transport=(?:udp|tcp|tls))?(;lr)?", re.I
).fullmatch
_ADVERTISE = re.compile(rf"({_HOST})(?::([0-9]{{1,5}}))?").fullmatch
_HEADER = re.compile(r"([A-Za-z0-9\-.!%*_+`'~]+)[ \t]*:[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)").fullmatch
_MEDIA_RANGE = re.compile(r"(\*/\*|[a-z0-9!#$&^_.+-]+/(\*|[a-z0-9!#$&^_.+-]+))").fullmatch
_QUERY_PASSWORD = re.compile(r"([?&][^=&]*password=)[^&]*", re.IGNORECASE)


DIGEST_ALGORITHMS: Final[tuple[str, ...]] = ("SHA-512-256", "SHA-256", "MD5")
"""The strongest first (RFC 8760 §2.1)."""


class Endpoint(NamedTuple):
    """An address to listen on. Port 0 takes a free port. `host` has no brackets."""

    transport: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Parse ``udp|tcp|tls:HOST:PORT``. Raises ValueError."""
        match = _ENDPOINT(text)
        if match is None or int(match[3]) > 65535:
            raise ValueError(f"{text!r} is not TRANSPORT:HOST:PORT")
        return cls(match[1], match[2].strip("[]"), int(match[3]))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.transport}:{host}:{self.port}"


class Credential(NamedTuple):
    """A user and password for digest challenges of one realm (RFC 3261 §22)."""

    realm: str
    user: str
    password: str

    @classmethod
    def parse(cls, text: str) -> Credential:
        """Parse ``USER:PASSWORD@REALM``. Raises ValueError."""
        rest, at, realm = text.rpartition("@")  # a password may contain '@', a realm rarely does
        user, colon, password = rest.partition(":")
        if not (at and realm and colon and user) or not text.isprintable():
            raise ValueError(
                "an item is not USER:PASSWORD@REALM"
            )  # without the text, which may be a password
        return cls(realm, user, password)

    def __str__(self) -> str:
        return f"{self.user}:***@{self.realm}"

    def __repr__(self) -> str:
        return f"Credential({str(self)!r})"


def masked(url: str) -> str:
    """A database URL with ``***`` in place of its passwords, for all output."""
    scheme, sep, rest = url.partition("://")
    if not sep:
        return url
    # up to the last '@': a password with an unescaped '/' or '?' is wrong, but must be hidden, too
    user_info, at, tail = rest.rpartition("@")
    tail = _QUERY_PASSWORD.sub(r"\1***", tail)
    if not at:
        return scheme + sep + tail
    user, colon, _password = user_info.partition(":")
    # without a colon it is a user, or for some clients a password: hide it, too
    return f"{scheme}{sep}{user}:***@{tail}" if colon else f"{scheme}{sep}***@{tail}"


def shown(name: str | None, value: object) -> object:
    """The value of a setting with passwords masked."""
    if name == "db_url" and isinstance(value, str):
        return masked(value)
    return "***" if name in {"mi_token", "hep_auth_key"} and value else value


def _db_url(url: str) -> str:
    scheme = url.partition("://")[0]
    if "://" not in url or scheme not in DB_SCHEMES:
        raise ValueError("it has another scheme")
    parts = urlsplit(url)
    if scheme == "unix":
        if not parts.path:
            raise ValueError("it has no socket path")
    elif not parts.netloc.rpartition("@")[2]:
        raise ValueError("it has no host")
    return url


def _words(value: object) -> object:
    """Split the text of an environment variable or option at commas and white space."""
    if not isinstance(value, str):
        return value
    return [word for word in re.split(r"[,\s]+", value) if word]


def _lines(value: object) -> object:
    """Split a text into header lines. `\\r\\n` may be written out, as for the modules that imc replaces."""
    if isinstance(value, str):
        return [line for line in re.split(r"\r?\n|\\r\\n", value) if line]
    return value


def _networks(value: object) -> object:
    words = _words(value)
    if not isinstance(words, list | tuple):
        return words
    return [ip_network(word) if isinstance(word, str) else word for word in words]


def _endpoints(value: object) -> object:
    words = _words(value)
    if not isinstance(words, list | tuple):
        return words
    return [Endpoint.parse(word) if isinstance(word, str) else word for word in words]


def _credentials(value: object) -> object:
    lines = _lines(value)
    if not isinstance(lines, list | tuple):
        return lines
    return [Credential.parse(line) if isinstance(line, str) else line for line in lines]


def _digest_algorithms(value: object) -> object:
    words = _words(value)
    if not isinstance(words, list | tuple):
        return words
    wanted = dict.fromkeys(str(word).upper() for word in words)
    if unknown := wanted.keys() - set(DIGEST_ALGORITHMS):
        raise ValueError(f"{min(unknown)} is not a supported algorithm")
    return tuple(wanted)


def _header(line: str) -> str:
    match = _HEADER(line)
    if match is None:
        raise ValueError(f"{line!r} is not a header line")
    if match[1].lower() in OWN_HEADERS:
        raise ValueError(f"imc sets {match[1]} itself")
    return f"{match[1]}: {match[2].strip()}"


def _media_range(text: str) -> str:
    if _MEDIA_RANGE(text.lower()) is None:
        raise ValueError(f"{text!r} is not a media type or range")
    return text.lower()


def _start_char(text: str) -> str:
    if len(text) != 1 or not "!" <= text <= "~" or text.isalnum():
        raise ValueError("it is not such a character")
    return text


def _proxy(text: str) -> str:
    match = _PROXY(text) if text else None
    if text and (match is None or not 0 < int(match[2] or SIP_PORT) < 65536):
        raise ValueError(f"{text!r} is not such a URI")
    return text


def _advertise(text: str) -> str:
    match = _ADVERTISE(text) if text else None
    if text and (match is None or not 0 < int(match[2] or SIP_PORT) < 65536):
        raise ValueError(f"{text!r} is not HOST or HOST:PORT")
    return text


def host_and_port(text: str) -> tuple[str, int]:
    """Host, without brackets, and port of HOST:PORT. Raises ValueError."""
    match = _ADVERTISE(text)
    if match is None or match[2] is None or int(match[2]) > 65535:
        raise ValueError(f"{text!r} is not HOST:PORT")
    return match[1].strip("[]"), int(match[2])


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reachable only from this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _host_port(text: str) -> str:
    if text:
        host_and_port(text)
    return text


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"it is not valid: {error}") from error
    return text


def _domain(text: str) -> str:
    try:
        domain = parse_host(text)
    except AddressError as error:
        raise ValueError(f"{text!r}: {error}") from error
    if domain.rpartition("]")[2].count(":"):
        raise ValueError(f"{text!r} has a port")
    return domain


def _prefix(text: str) -> str:
    fields = {field for _, field, _, _ in Formatter().parse(text)} - {None}
    if not fields <= {"name", "user", "host"}:
        raise ValueError("it has a field other than {name}, {user} and {host}")
    if any(char < " " for char in text):
        raise ValueError("it has a control character")
    text.format(name="", user="", host="")  # raises ValueError for an invalid format
    return text


def _key_name(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_.:-]{1,64}", text) is None:
        raise ValueError("it is empty, too long, or has another character")
    return text


def _domain_or_none(value: str) -> str:
    return _domain(value) if value else ""


def _user(text: str) -> str:
    try:
        return parse_user(text) if text else text
    except AddressError as error:
        raise ValueError(str(error)) from error


Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_networks)]
DigestAlgorithms = Annotated[tuple[str, ...], BeforeValidator(_digest_algorithms)]
Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
DbUrl = Annotated[str, AfterValidator(_db_url)]
KeyName = Annotated[str, AfterValidator(_key_name)]
StartChar = Annotated[str, AfterValidator(_start_char)]
ProxyUri = Annotated[str, AfterValidator(_proxy)]
HeaderLines = Annotated[tuple[Annotated[str, AfterValidator(_header)], ...], BeforeValidator(_lines)]
Credentials = Annotated[tuple[Credential, ...], BeforeValidator(_credentials)]
Domains = Annotated[tuple[Annotated[str, AfterValidator(_domain)], ...], BeforeValidator(_words)]
Pattern = Annotated[str, AfterValidator(_pattern)]
DomainOrNone = Annotated[str, AfterValidator(_domain_or_none)]
UserPart = Annotated[str, AfterValidator(_user)]
Prefix = Annotated[str, AfterValidator(_prefix)]
Endpoints = Annotated[tuple[Endpoint, ...], BeforeValidator(_endpoints)]
HostPort = Annotated[str, AfterValidator(_host_port)]
Advertise = Annotated[str, AfterValidator(_advertise)]
MediaRanges = Annotated[tuple[Annotated[str, AfterValidator(_media_range)], ...], BeforeValidator(_words)]
