"""What a process makes sure of before it uses a Redis: version, memory policy, layout, durability."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog

from imc_common import keys
from imc_common.settings import Settings
from imc_common.store.dial import Hello
from imc_common.store.errors import ReplyError, StoreRefused, StoreUnreachable
from imc_common.store.pipe import Command

log = structlog.get_logger()

LAYOUT = "1"
"""Version of the keys' layout; a process of another version would misread them."""

Each = Callable[[Sequence[Command]], Awaitable[list[list[Any]]]]
Run = Callable[[Sequence[Command]], Awaitable[list[Any]]]


def check_version(hello: Hello) -> None:
    """Redis 7 or later, or any Valkey: the scripts need commands of that version. Raises StoreRefused."""
    if hello.server == "redis" and hello.version < (7,):
        version = ".".join(map(str, hello.version))
        raise StoreRefused(f"Redis {version} is too old: 7.0 or later, or Valkey, is needed")


async def check_policy(each: Each) -> None:
    """Redis must refuse writes when it is full: any other policy throws rooms away. Raises StoreRefused."""
    for (reply,) in await each([("INFO", "memory")]):  # CONFIG is often forbidden to applications
        if isinstance(reply, ReplyError):
            log.warning("cannot see Redis's maxmemory-policy; it has to be noeviction", reason=str(reply))
            continue
        policy = reply.decode().partition("maxmemory_policy:")[2].partition("\r\n")[0]
        if policy and policy != "noeviction":
            raise StoreRefused(
                f"Redis's maxmemory-policy is {policy}: it would throw rooms and messages away when memory "
                "runs short. Set it: redis-cli CONFIG SET maxmemory-policy noeviction"
            )


async def check_config(run: Run, hash_size: int) -> bytes:
    """The first start writes down `hash_size`, layout and a secret; every later one must agree with it.

    Gives the secret. Raises StoreRefused; StoreUnreachable while Redis takes no writes.
    """
    first = {"hash_size": str(hash_size), "layout": LAYOUT, "secret": secrets.token_hex(32)}
    reading: Command = ("HMGET", keys.CONFIG, *first)
    (found,) = await run([reading])  # only read as a rule: a process must start on a full Redis, too
    if not isinstance(found, ReplyError) and None in found:
        writing: list[Command] = [("HSETNX", keys.CONFIG, name, value) for name, value in first.items()]
        *written, found = await run([*writing, reading])
        found = next((reply for reply in written if isinstance(reply, ReplyError)), found)
    if isinstance(found, ReplyError):
        raise (StoreUnreachable if found.transient else StoreRefused)(f"cannot use {keys.CONFIG}: {found}")
    there, layout, secret = (value.decode() for value in found)
    if layout != LAYOUT:
        raise StoreRefused(f"the data are of layout {layout}, this is imc for layout {LAYOUT}")
    if there != str(hash_size):
        raise StoreRefused(
            f"hash_size is {hash_size} here and {there} in Redis ({keys.CONFIG}): rooms would be "
            f"looked for in the wrong shards. Set hash_size = {there}, or stop all processes and run "
            f"`imc reshard --hash-size {hash_size}`"
        )
    return bytes.fromhex(secret)


async def check_layout_at_rest(run: Run) -> None:
    """While rooms are between two layouts, nobody serves them. Raises StoreRefused."""
    (target,) = await run([("HGET", keys.CONFIG, keys.RESHARD_TO)])
    if target and not isinstance(target, ReplyError):
        raise StoreRefused(
            "re-sharding was begun and not finished: run "
            f"`imc reshard --hash-size {target.decode()}` to its end first"
        )


async def check_durability(each: Each, settings: Settings) -> None:
    """Whether the server can give what `durability` asks for. Raises StoreRefused.

    WAITAOF alone is not enough: with ``appendfsync everysec`` it takes up to a second, and Redis 7.4.0 to
    7.4.2 and Valkey up to 9.1 at least answer it before the disk has the data (redis/redis#13793).
    """
    if settings.durability != "fsync":
        return
    for waited, policy in await each([("WAITAOF", 1, 0, 1), ("CONFIG", "GET", "appendfsync")]):
        if isinstance(waited, ReplyError):
            raise StoreRefused(
                f"durability = fsync needs Redis 7.2 or Valkey, with appendonly yes; WAITAOF says: {waited}"
            )
        if isinstance(policy, ReplyError):
            log.warning("cannot see Redis's appendfsync; it has to be always", reason=str(policy))
        elif policy[1] != b"always":
            raise StoreRefused(
                f"durability = fsync needs appendfsync always, it is {policy[1].decode()}. Set it: "
                "redis-cli CONFIG SET appendfsync always"
            )
