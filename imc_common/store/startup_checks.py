"""Checks of Redis when a process starts: version, memory policy, key layout, shards, durability."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog

from imc_common import keys
from imc_common.scripts import Command
from imc_common.settings import Settings
from imc_common.store.connector import Hello
from imc_common.store.errors import ReplyError, StoreRefused, StoreUnreachable

log = structlog.get_logger()

LAYOUT = "1"
"""Version of the key layout. A process with another version would misread the keys."""

RunOnPrimaries = Callable[[Sequence[Command]], Awaitable[list[list[Any]]]]
Run = Callable[[Sequence[Command]], Awaitable[list[Any]]]


def check_version(hello: Hello) -> None:
    """Redis 7.0 or later, or Valkey: the scripts need commands of that version. Raises StoreRefused."""
    if hello.server == "redis" and hello.version < (7,):
        version = ".".join(map(str, hello.version))
        raise StoreRefused(f"Redis {version} is too old: imc needs 7.0 or later, or Valkey")


async def check_policy(run: RunOnPrimaries) -> None:
    """Redis must refuse writes when it is full; other policies delete rooms. Raises StoreRefused."""
    for (reply,) in await run(
        [("INFO", "memory")]
    ):  # INFO, because CONFIG is often forbidden to applications
        if isinstance(reply, ReplyError):
            log.warning("maxmemory-policy not readable", required="noeviction", reason=str(reply))
            continue
        policy = reply.decode().partition("maxmemory_policy:")[2].partition("\r\n")[0]
        if policy and policy != "noeviction":
            raise StoreRefused(
                f"the maxmemory-policy of Redis is {policy}, which deletes rooms and messages when memory is "
                "short. Set it: redis-cli CONFIG SET maxmemory-policy noeviction"
            )


async def check_config(run: Run, hash_size: int) -> bytes:
    """The first start writes `hash_size`, layout and a secret to Redis; later ones must have the same.

    Returns the secret. Raises StoreRefused, or StoreUnreachable while Redis accepts no writes.
    """
    first = {"hash_size": str(hash_size), "layout": LAYOUT, "secret": secrets.token_hex(32)}
    reading: Command = ("HMGET", keys.CONFIG, *first)
    (found,) = await run([reading])  # usually only reads, because a process must also start on a full Redis
    if not isinstance(found, ReplyError) and None in found:
        writing: list[Command] = [("HSETNX", keys.CONFIG, name, value) for name, value in first.items()]
        *written, found = await run([*writing, reading])
        found = next((reply for reply in written if isinstance(reply, ReplyError)), found)
    if isinstance(found, ReplyError):
        raise (StoreUnreachable if found.transient else StoreRefused)(f"cannot use {keys.CONFIG}: {found}")
    there, layout, secret = (value.decode() for value in found)
    if layout != LAYOUT:
        raise StoreRefused(
            f"the data in Redis have key layout {layout}, this version of imc needs layout {LAYOUT}"
        )
    if there != str(hash_size):
        raise StoreRefused(
            f"hash_size is {hash_size} in the settings and {there} in Redis ({keys.CONFIG}): this process "
            f"would look for rooms in the wrong shards. Set hash_size = {there}, or stop all processes and "
            f"run `imc reshard --hash-size {hash_size}`"
        )
    return bytes.fromhex(secret)


async def check_layout_at_rest(run: Run) -> None:
    """No process serves rooms while a re-sharding moves them. Raises StoreRefused."""
    (target,) = await run([("HGET", keys.CONFIG, keys.RESHARD_TO)])
    if target and not isinstance(target, ReplyError):
        raise StoreRefused(
            "a re-sharding was started and not finished: run "
            f"`imc reshard --hash-size {target.decode()}` again first"
        )


async def check_durability(run: RunOnPrimaries, settings: Settings) -> None:
    """The server must support the setting `durability`. Raises StoreRefused.

    WAITAOF alone is not enough: with ``appendfsync everysec`` it takes up to a second, and Redis 7.4.0 to
    7.4.2 and Valkey up to at least 9.1 reply before the disk has the data (redis/redis#13793).
    """
    if settings.durability != "fsync":
        return
    for waited, policy in await run([("WAITAOF", 1, 0, 1), ("CONFIG", "GET", "appendfsync")]):
        if isinstance(waited, ReplyError):
            raise StoreRefused(
                f"durability = fsync needs Redis 7.2 or Valkey with appendonly yes; WAITAOF replied: {waited}"
            )
        if isinstance(policy, ReplyError):
            log.warning("appendfsync not readable", required="always", reason=str(policy))
        elif policy[1] != b"always":
            raise StoreRefused(
                f"durability = fsync needs appendfsync always, but it is {policy[1].decode()}. Set it: "
                "redis-cli CONFIG SET appendfsync always"
            )
