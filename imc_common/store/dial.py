"""Opening connections: TCP, TLS or Unix socket, HELLO with AUTH, SELECT; asking sentinels for the primary."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from imc_common.store.errors import ReplyError, StoreRefused, StoreUnreachable
from imc_common.store.pipe import Command, Pipe
from imc_common.store.url import Host, Target

CONNECT_SECONDS = 3.0
SENTINEL_SECONDS = 1.0  # the next sentinel knows as well: do not wait long for one


@dataclass(frozen=True, slots=True)
class Hello:
    """What a server says of itself: `server` is redis or valkey, `role` master or replica."""

    server: str
    version: tuple[int, ...]
    role: str
    mode: str


class Dialer:
    """Opens pipes to the servers of one target."""

    def __init__(self, target: Target, name: str) -> None:
        self._target = target
        self._tls = target.tls_context()
        self._name = name  # for CLIENT LIST

    async def primary(self) -> tuple[Pipe, Hello]:
        """A pipe to the server that takes writes now. Raises StoreUnreachable, StoreRefused."""
        target = self._target
        if target.kind == "unix":
            return await self._open(target.path, None)
        if target.kind == "sentinel":
            return await self._watched_primary()
        return await self._open("", target.hosts[0])

    async def node(self, host: Host) -> tuple[Pipe, Hello]:
        """A pipe to this server, which may be a replica."""
        return await self._open("", host, any_role=True)

    async def _open(self, path: str, host: Host | None, any_role: bool = False) -> tuple[Pipe, Hello]:
        target = self._target
        pipe = await self._connect(path, host)
        credentials = (target.username or "default", target.password) if target.password else None
        hello = await _handshake(pipe, credentials, self._name, target.db)
        if hello.role == "replica" and not any_role:
            pipe.end("is a replica")
            raise StoreUnreachable(f"{pipe.name}: is a replica")
        return pipe, hello

    async def _connect(self, path: str, host: Host | None) -> Pipe:
        loop = asyncio.get_running_loop()
        name = path if host is None else f"{host[0]}:{host[1]}"
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                if host is None:
                    return (await loop.create_unix_connection(lambda: Pipe(name), path))[1]
                return (await loop.create_connection(lambda: Pipe(name), host[0], host[1], ssl=self._tls))[1]
        except TimeoutError:
            raise StoreUnreachable(f"{name}: no connection in {CONNECT_SECONDS:g} s") from None
        except OSError as error:  # refused, no route, name unknown, TLS
            raise StoreUnreachable(f"{name}: {error}") from error

    async def _watched_primary(self) -> tuple[Pipe, Hello]:
        """Asks one sentinel after the other, until one names a server that says it is the primary itself."""
        problems = []
        for host in self._target.hosts:
            try:
                return await self._open("", await self._ask_sentinel(host))
            except StoreUnreachable as error:
                problems.append(str(error))
        raise StoreUnreachable(f"no primary of {self._target.service!r}: {'; '.join(problems)}")

    async def _ask_sentinel(self, host: Host) -> Host:
        option = self._target.options.get
        pipe = await self._connect("", host)
        try:
            commands: list[Command] = []
            if password := option("sentinel_password"):
                commands.append(("AUTH", option("sentinel_username") or "default", password))
            commands.append(("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._target.service))
            answer = (await pipe.send(commands, SENTINEL_SECONDS)).replies[-1]
        finally:
            pipe.end("asked")
        if not isinstance(answer, list):
            raise StoreUnreachable(f"sentinel {pipe.name}: {answer or 'knows no such primary'}")
        return answer[0].decode(), int(answer[1])


async def _handshake(pipe: Pipe, credentials: tuple[str, str] | None, name: str, db: int) -> Hello:
    hello = ("HELLO", "2", *(("AUTH", *credentials) if credentials else ()), "SETNAME", name)
    commands: list[Command] = [hello, ("SELECT", db)] if db else [hello]
    commands.append(("PING",))  # refused while the server loads its data
    try:
        replies = (await pipe.send(commands, CONNECT_SECONDS)).replies
        for reply in replies:
            if isinstance(reply, ReplyError):
                _refuse(pipe, reply)
        return _hello(replies[0])
    except BaseException:
        pipe.end("handshake failed")
        raise


def _refuse(pipe: Pipe, error: ReplyError) -> None:
    denied = error.code in {"NOAUTH", "NOPERM", "WRONGPASS"}  # does not pass by waiting
    if (error.transient and not denied) or "max number of clients" in str(error):
        raise StoreUnreachable(f"{pipe.name}: {error}")
    if "unknown command" in str(error):
        raise StoreRefused(f"{pipe.name}: too old, Redis 7 or Valkey is needed: {error}")
    raise StoreRefused(f"{pipe.name}: {error}")


def _hello(reply: list[Any]) -> Hello:
    told = {key: value for key, value in zip(reply[::2], reply[1::2], strict=True) if isinstance(key, bytes)}
    words = {key.decode(): value.decode() for key, value in told.items() if isinstance(value, bytes)}
    version = tuple(int(part) for part in words.get("version", "0").split(".") if part.isdigit())
    # Redis calls a replica "replica" here and "slave" elsewhere
    role = "master" if words.get("role") == "master" else "replica"
    return Hello(words.get("server", ""), version, role, words.get("mode", ""))
