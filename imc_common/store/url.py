"""Database URLs (`db_url`): the servers, how to find the primary, and the credentials.

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
    """A database URL that cannot be used. The text says which part is wrong."""


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A parsed database URL. `hosts` are sentinels or seed nodes of a cluster, depending on `kind`."""

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
        """The TLS context for this URL; None without TLS. Raises UrlError if a file cannot be loaded."""
        if not self.tls:
            return None
        option = self.options.get
        try:
            context = ssl.create_default_context(cafile=option("ssl_ca_certs"))
            if certificate := option("ssl_certfile"):
                context.load_cert_chain(certificate, option("ssl_keyfile"))
        except OSError as error:  # includes ssl.SSLError
            raise UrlError(f"TLS files of db_url: {error}") from error
        if option("ssl_cert_reqs") == "none":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif option("ssl_check_hostname") == "false":
            context.check_hostname = False
        return context


def parse_url(url: str) -> RedisUrl:
    """Parse a database URL. Raises UrlError; its text never contains the password."""
    scheme, _, rest = url.partition("://")
    if scheme not in _KINDS:
        raise UrlError(f"db_url: scheme {scheme!r} is not one of {', '.join(_KINDS)}")
    rest, _, query = rest.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := sorted(options.keys() - _OPTIONS):
        raise UrlError(f"db_url: unknown option {', '.join(unknown)}")
    kind = _KINDS[scheme]
    authority, slash, path = rest.partition("/")
    userinfo, at, authority = authority.rpartition("@")
    username, colon, password = userinfo.partition(":")
    if at and not colon:  # redis://secret@host has only a password, as for redis-cli
        username, password = "", username
    words = [word for word in path.split("/") if word]
    service = words.pop(0) if kind == "sentinel" and words else ""
    if kind == "sentinel" and not service:
        raise UrlError("db_url: redis+sentinel:// needs /NAME, the name of the primary in Sentinel")
    return RedisUrl(
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


def is_cluster(url: str) -> bool:
    """Whether the keys of one script have to be of one slot. Raises UrlError."""
    return parse_url(url).kind == "cluster"


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
        raise UrlError(f"db_url: {text!r} is not a database number")
    if kind == "cluster" and int(text):
        raise UrlError("db_url: a cluster has only database 0")
    return int(text)
