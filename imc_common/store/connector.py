"""Opens connections: TCP, TLS or Unix socket, HELLO with AUTH, SELECT. Asks sentinels for the primary."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from imc_common.scripts import Command
from imc_common.store.connection import RedisConnection
from imc_common.store.errors import ReplyError, StoreRefused, StoreUnreachable
from imc_common.store.url import Host, RedisUrl

CONNECT_SECONDS = 3.0
SENTINEL_SECONDS = 1.0  # short, because the next sentinel can reply as well


@dataclass(frozen=True, slots=True)
class Hello:
    """The reply to HELLO: `server` is redis or valkey, `role` is master or replica."""

    server: str
    version: tuple[int, ...]
    role: str
    mode: str


Opened = tuple[RedisConnection, Hello]


class Connector:
    """Opens connections to the servers of one database URL."""

    def __init__(self, url: RedisUrl, name: str) -> None:
        """``name``: shown by CLIENT LIST."""
        self._url = url
        self._tls = url.tls_context()
        self._name = name

    async def primary(self) -> Opened:
        """A connection to the current primary. Raises StoreUnreachable, StoreRefused."""
        url = self._url
        if url.kind == "unix":
            return await self._open(url.path, None)
        if url.kind == "sentinel":
            return await self._primary_of_sentinels()
        return await self._open("", url.hosts[0])

    async def node(self, host: Host) -> Opened:
        """A connection to this server, which may be a replica. Raises StoreUnreachable, StoreRefused."""
        return await self._open("", host, any_role=True)

    async def _open(self, path: str, host: Host | None, any_role: bool = False) -> Opened:
        url = self._url
        connection = await self._connect(path, host)
        credentials = (url.username or "default", url.password) if url.password else None
        hello = await _handshake(connection, credentials, self._name, url.db)
        if hello.role == "replica" and not any_role:
            connection.end("it is a replica")
            raise StoreUnreachable(f"{connection.name}: it is a replica")
        return connection, hello

    async def _connect(self, path: str, host: Host | None) -> RedisConnection:
        loop = asyncio.get_running_loop()
        name = path if host is None else f"{host[0]}:{host[1]}"
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                if host is None:
                    return (await loop.create_unix_connection(lambda: RedisConnection(name), path))[1]
                return (
                    await loop.create_connection(
                        lambda: RedisConnection(name), host[0], host[1], ssl=self._tls
                    )
                )[1]
        except TimeoutError:
            raise StoreUnreachable(f"{name}: no connection in {CONNECT_SECONDS:g} s") from None
        except ConnectionRefusedError as error:  # asyncio's text differs from that of uvloop
            raise StoreUnreachable(f"{name}: connection refused") from error
        except OSError as error:  # no route, name unknown, TLS
            raise StoreUnreachable(f"{name}: {error}") from error

    async def _primary_of_sentinels(self) -> Opened:
        """Ask one sentinel after the other until one names a server that confirms it is the primary."""
        problems = []
        for host in self._url.hosts:
            try:
                return await self._open("", await self._ask_sentinel(host))
            except StoreUnreachable as error:
                problems.append(str(error))
        raise StoreUnreachable(f"no primary of {self._url.service!r}: {'; '.join(problems)}")

    async def _ask_sentinel(self, host: Host) -> Host:
        option = self._url.options.get
        connection = await self._connect("", host)
        try:
            commands: list[Command] = []
            if password := option("sentinel_password"):
                commands.append(("AUTH", option("sentinel_username") or "default", password))
            commands.append(("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._url.service))
            reply = (await connection.send(commands, SENTINEL_SECONDS)).replies[-1]
        finally:
            connection.end("done")
        if not isinstance(reply, list):
            raise StoreUnreachable(f"sentinel {connection.name}: {reply or 'knows no such primary'}")
        return reply[0].decode(), int(reply[1])


async def _handshake(
    connection: RedisConnection, credentials: tuple[str, str] | None, name: str, db: int
) -> Hello:
    hello = ("HELLO", "2", *(("AUTH", *credentials) if credentials else ()), "SETNAME", name)
    commands: list[Command] = [hello, ("SELECT", db)] if db else [hello]
    commands.append(("PING",))  # refused while the server loads its data
    try:
        replies = (await connection.send(commands, CONNECT_SECONDS)).replies
        for reply in replies:
            if isinstance(reply, ReplyError):
                _refuse(connection, reply)
        connection.number = _number(replies[0])
        return _hello(replies[0])
    except BaseException:
        connection.end("handshake failed")
        raise


def _refuse(connection: RedisConnection, error: ReplyError) -> None:
    denied = error.code in {"NOAUTH", "NOPERM", "WRONGPASS"}  # waiting does not help
    if (error.transient and not denied) or "max number of clients" in str(error):
        raise StoreUnreachable(f"{connection.name}: {error}")
    if "unknown command" in str(error):
        raise StoreRefused(f"{connection.name}: the server is too old, imc needs Redis 7 or Valkey: {error}")
    raise StoreRefused(f"{connection.name}: {error}")


def _hello(reply: list[Any]) -> Hello:
    pairs = {key: value for key, value in zip(reply[::2], reply[1::2], strict=True) if isinstance(key, bytes)}
    words = {key.decode(): value.decode() for key, value in pairs.items() if isinstance(value, bytes)}
    version = tuple(int(part) for part in words.get("version", "0").split(".") if part.isdigit())
    # Redis calls a replica "replica" here and "slave" elsewhere
    role = "master" if words.get("role") == "master" else "replica"
    return Hello(words.get("server", ""), version, role, words.get("mode", ""))


def _number(reply: list[Any]) -> int:
    """The id of the connection at the server."""
    found = dict(zip(reply[::2], reply[1::2], strict=True)).get(b"id")
    return found if isinstance(found, int) else 0
