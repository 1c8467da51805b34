"""Users with passwords in Redis, for digest authentication.

Only HA1 of a password is stored, the hash that digest authentication needs (RFC 7616 §3.4.2), once for each
algorithm. For imc it is equivalent to the password; for other services it is useless.
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
"""Seconds from the creation of a signing key to its first use, when every edge has read it."""
KEPT_KEYS = 4


class UsersError(ImcError):
    """The user exists already, or does not exist, or Redis refuses a command."""


def hashes_of(user: str, password: str, algorithms: Iterable[str]) -> dict[str, str]:
    """HA1 by algorithm. The user name is the unescaped user part of the address, the realm is its host."""
    name, realm = unquote(address.split(user)[0]), address.domain(user)
    return {algorithm: digest(algorithm, f"{name}:{realm}:{password}") for algorithm in algorithms}


def pack(hashes: Mapping[str, str]) -> str:
    """The value of the user's field in Redis: ``SHA-256=… MD5=…``."""
    return " ".join(f"{algorithm}={value}" for algorithm, value in hashes.items())


def unpack(value: bytes) -> dict[str, str]:
    """HA1 by algorithm from the value of a field. Malformed parts are ignored."""
    parts = (part.partition("=") for part in value.decode("ascii", "replace").split(" "))
    return {algorithm: ha1 for algorithm, _, ha1 in parts if algorithm in ALGORITHMS and ha1}


def user_address(text: str) -> str:
    """The address of a user from the text that an operator typed. Raises UsersError, also for a port."""
    try:
        user = address.parse(text)
    except address.AddressError as error:
        raise UsersError(f"{text!r} is not a user such as alice@example.org: {error}") from error
    if user.partition("@")[2] != address.domain(user):
        raise UsersError(f"{text!r} has a port: give the user without it")
    return user


class Users:
    """The users in Redis, for the commands of operators."""

    def __init__(self, store: ScriptRunner) -> None:
        self._store = store

    async def add(self, user: str, hashes: Mapping[str, str]) -> None:
        """Add a user. Raises UsersError if the user exists, and StoreUnreachable."""
        if not await self._ask("HSETNX", keys.users(keys.user_shard(user)), user, pack(hashes)):
            raise UsersError(f"the user {user} exists already")

    async def change(self, user: str, hashes: Mapping[str, str]) -> None:
        """Change the password. Raises UsersError if the user does not exist, and StoreUnreachable."""
        key = keys.users(keys.user_shard(user))
        if not await self._ask("HEXISTS", key, user):
            raise UsersError(f"the user {user} does not exist")
        await self._ask("HSET", key, user, pack(hashes))

    async def remove(self, user: str) -> None:
        """Remove a user, who cannot authenticate then. Raises UsersError, StoreUnreachable."""
        if not await self._ask("HDEL", keys.users(keys.user_shard(user)), user):
            raise UsersError(f"the user {user} does not exist")

    async def all(self) -> dict[str, list[str]]:
        """All users by address, sorted, each with the algorithms of the stored hashes."""
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
        """Add a key that signs nonces; returns the time of its first use in seconds since the epoch.

        The time is that of Redis's clock, which edges use, too (``now``: for tests).
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
            raise UsersError(f"redis: {reply!r} is not a time")
        return reply / 1000

    async def _ask(self, *command: str | bytes | int) -> object:
        (reply,) = await self._store.run([command])
        if isinstance(reply, Exception):
            raise UsersError(f"redis: {reply}")
        return reply
