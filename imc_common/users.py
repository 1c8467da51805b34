"""Users who prove who they are by a password: what is kept of them, and where.

Of a password only HA1 is kept, the hash that digest authentication needs (RFC 7616 §3.4.2), one for each
algorithm. It is as good as the password for this service, and for nothing else.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from urllib.parse import unquote

from imc_common import address, keys
from imc_common.errors import ImcError
from imc_common.scripts import Command
from imc_common.sip.digest import ALGORITHMS, digest
from imc_common.store.protocols import ScriptRunner

FIRST_USE = 60.0
"""Seconds from the making of a signing key to its first use: by then every edge has read it."""
KEPT_KEYS = 4


class UsersError(ImcError):
    """What was asked for cannot be done: the user is there already, or is not; or Redis refuses."""


def hashes_of(user: str, password: str, algorithms: Iterable[str]) -> dict[str, str]:
    """HA1 of a user by algorithm; user name and realm are the address's user part, unescaped, and host."""
    name, realm = unquote(address.split(user)[0]), address.domain(user)
    return {algorithm: digest(algorithm, f"{name}:{realm}:{password}") for algorithm in algorithms}


def pack(hashes: Mapping[str, str]) -> str:
    """The value of a user's field in Redis: ``SHA-256=… MD5=…``."""
    return " ".join(f"{algorithm}={value}" for algorithm, value in hashes.items())


def unpack(value: bytes) -> dict[str, str]:
    """HA1 by algorithm, of a field's value; parts that make no sense are left out."""
    parts = (part.partition("=") for part in value.decode("ascii", "replace").split(" "))
    return {algorithm: ha1 for algorithm, _, ha1 in parts if algorithm in ALGORITHMS and ha1}


def user_address(text: str) -> str:
    """The address of a user as an operator types it. Raises UsersError; a port is no part of who one is."""
    try:
        user = address.parse(text)
    except address.AddressError as error:
        raise UsersError(f"{text!r} is no user, like alice@example.org: {error}") from error
    if user.partition("@")[2] != address.domain(user):
        raise UsersError(f"{text!r}: a user has no port, and is the same at all of them")
    return user


class Users:
    """The users in Redis, for operators."""

    def __init__(self, store: ScriptRunner) -> None:
        self._store = store

    async def add(self, user: str, hashes: Mapping[str, str]) -> None:
        """A new user. Raises UsersError if there is one of that address, and StoreUnreachable."""
        if not await self._ask("HSETNX", keys.users(keys.user_shard(user)), user, pack(hashes)):
            raise UsersError(f"there is a user {user} already")

    async def change(self, user: str, hashes: Mapping[str, str]) -> None:
        """Another password. Raises UsersError if there is no such user, and StoreUnreachable."""
        key = keys.users(keys.user_shard(user))
        if not await self._ask("HEXISTS", key, user):
            raise UsersError(f"there is no user {user}")
        await self._ask("HSET", key, user, pack(hashes))

    async def remove(self, user: str) -> None:
        """Nobody proves to be this user any more. Raises UsersError, StoreUnreachable."""
        if not await self._ask("HDEL", keys.users(keys.user_shard(user)), user):
            raise UsersError(f"there is no user {user}")

    async def all(self) -> dict[str, list[str]]:
        """Every user by address, sorted, with the algorithms there are hashes for."""
        commands: list[Command] = [
            ("HGETALL", keys.users(f"u{number}")) for number in range(keys.USER_SHARDS)
        ]
        found: dict[str, list[str]] = {}
        for reply in await self._store.run(commands):
            if not isinstance(reply, list):
                raise UsersError(f"redis: {reply}")
            for user, value in zip(reply[::2], reply[1::2], strict=True):
                found[user.decode(errors="replace")] = list(unpack(value))
        return dict(sorted(found.items()))

    async def rotate_key(self, now: float | None = None) -> float:
        """A new key to sign nonces with; gives the time of its first use, in seconds since the epoch.

        By Redis's clock, as edges go by it (``now``: for tests).
        """
        first_use = (await self._now() if now is None else now) + FIRST_USE
        await self._ask("HSET", keys.DIGEST_KEYS, int(first_use * 1000), secrets.token_hex(32))
        known = await self._ask("HKEYS", keys.DIGEST_KEYS)
        if isinstance(known, list):
            for old in sorted(known, key=int)[:-KEPT_KEYS]:
                await self._ask("HDEL", keys.DIGEST_KEYS, old)
        return first_use

    async def _now(self) -> float:
        reply = await self._ask(*self._store.script("read_clock", [keys.DIGEST_KEYS], []))
        if not isinstance(reply, int):
            raise UsersError(f"redis does not tell the time: {reply!r}")
        return reply / 1000

    async def _ask(self, *command: str | bytes | int) -> object:
        (reply,) = await self._store.run([command])
        if isinstance(reply, Exception):
            raise UsersError(f"redis: {reply}")
        return reply
