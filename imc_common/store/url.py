"""What a database URL says: which servers, how to find the primary, with which credentials.

    redis://[USER:PASSWORD@]HOST[:PORT][/DB]              rediss:// the same over TLS
    unix://[USER:PASSWORD@]/PATH[?db=DB]
    redis+sentinel://[USER:PASSWORD@]HOST[:PORT],.../NAME[/DB]
    redis+cluster://[USER:PASSWORD@]HOST[:PORT],...    rediss+sentinel:// and rediss+cluster:// over TLS

Options after ``?``: ``db``, ``ssl_ca_certs``, ``ssl_certfile``, ``ssl_keyfile``, ``ssl_cert_reqs``
(``required``, ``none``), ``ssl_check_hostname`` (``true``, ``false``), ``sentinel_username``,
``sentinel_password``.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, unquote

from imc_common.errors import ImcError

Kind = Literal["single", "unix", "sentinel", "cluster"]
Host = tuple[str, int]

_KINDS: dict[str, Kind] = {
    "redis": "single",
    "rediss": "single",
    "unix": "unix",
    "redis+sentinel": "sentinel",
    "rediss+sentinel": "sentinel",
    "redis+cluster": "cluster",
    "rediss+cluster": "cluster",
}
_OPTIONS = frozenset(
    (
        "db",
        *("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"),
        *("sentinel_username", "sentinel_password"),
    )
)
REDIS_PORT = 6379
SENTINEL_PORT = 26379


class UrlError(ImcError):
    """A database URL that cannot be used; the text says which part."""


@dataclass(frozen=True, slots=True)
class Target:
    """The servers of a database URL. `hosts` are sentinels or first cluster nodes where `kind` says so."""

    kind: Kind
    hosts: tuple[Host, ...] = ()
    path: str = ""
    service: str = ""
    db: int = 0
    username: str = ""
    password: str = field(default="", repr=False)
    tls: bool = False
    options: dict[str, str] = field(default_factory=dict, repr=False)

    def tls_context(self) -> ssl.SSLContext | None:
        """The TLS settings of the URL; None without TLS. Raises UrlError for files that do not load."""
        if not self.tls:
            return None
        option = self.options.get
        try:
            context = ssl.create_default_context(cafile=option("ssl_ca_certs"))
            if certificate := option("ssl_certfile"):
                context.load_cert_chain(certificate, option("ssl_keyfile"))
        except OSError as error:  # ssl.SSLError is one
            raise UrlError(f"TLS files of db_url: {error}") from error
        if option("ssl_cert_reqs") == "none":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif option("ssl_check_hostname") == "false":
            context.check_hostname = False
        return context


def parse_url(url: str) -> Target:
    """The target of a database URL. Raises UrlError; its text never has the password."""
    scheme, _, rest = url.partition("://")
    if scheme not in _KINDS:
        raise UrlError(f"db_url: scheme {scheme!r} is none of {', '.join(_KINDS)}")
    rest, _, query = rest.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := sorted(options.keys() - _OPTIONS):
        raise UrlError(f"db_url: unknown option {', '.join(unknown)}")
    kind = _KINDS[scheme]
    authority, slash, path = rest.partition("/")
    userinfo, at, authority = authority.rpartition("@")
    username, colon, password = userinfo.partition(":")
    if at and not colon:  # redis://secret@host: only a password, as redis-cli takes it
        username, password = "", username
    words = [word for word in path.split("/") if word]
    service = words.pop(0) if kind == "sentinel" and words else ""
    if kind == "sentinel" and not service:
        raise UrlError("db_url: redis+sentinel:// needs /NAME, the name the sentinels watch the primary by")
    return Target(
        kind=kind,
        hosts=() if kind == "unix" else _hosts(authority, SENTINEL_PORT if service else REDIS_PORT),
        path=unquote(slash + path) if kind == "unix" else "",
        service=service,
        db=_db(options.get("db", words[0] if words and kind != "unix" else "0"), kind),
        username=unquote(username),
        password=unquote(password),
        tls=scheme.startswith("rediss"),
        options=options,
    )


def _hosts(authority: str, default_port: int) -> tuple[Host, ...]:
    hosts = []
    for word in authority.split(","):
        host, colon, port = word.rpartition(":") if not word.endswith("]") else (word, "", "")
        if not colon:
            host, port = word, str(default_port)
        if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise UrlError(f"db_url: {word!r} is not HOST or HOST:PORT")
        hosts.append((host.strip("[]"), int(port)))
    return tuple(hosts)


def _db(text: str, kind: Kind) -> int:
    if not (text.isascii() and text.isdigit()):
        raise UrlError(f"db_url: {text!r} is not the number of a database")
    if kind == "cluster" and int(text):
        raise UrlError("db_url: a cluster has database 0 only")
    return int(text)
