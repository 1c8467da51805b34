"""The cluster slot of a command, and the node of a slot."""

from __future__ import annotations

from binascii import crc_hqx
from functools import lru_cache
from typing import Any

from imc_common.scripts import Command
from imc_common.store.url import Host

SLOTS = 16384
_KEY_AT = {"EVALSHA": 3, "EVAL": 3, "XINFO": 2, "XGROUP": 2, "MEMORY": 2, "OBJECT": 2}  # others: 1
_WITHOUT_KEY = frozenset(
    (
        "PING",
        "ECHO",
        "TIME",
        "INFO",
        "CONFIG",
        "CLUSTER",
        "DBSIZE",
        "SCAN",
        "SCRIPT",
        "WAIT",
        "WAITAOF",
        "PUBLISH",
    )
)


@lru_cache(maxsize=8192)
def _slot_of_bytes(tag: bytes) -> int:
    return crc_hqx(tag, 0) % SLOTS


def slot_of(command: Command) -> int | None:
    """The slot of a command's first key, which all its keys share; None for a command without keys."""
    name = command[0]
    if name in _WITHOUT_KEY:
        return None
    at = command.index("STREAMS") + 1 if name == "XREADGROUP" else _KEY_AT.get(str(name), 1)
    key = command[at]
    text = key if isinstance(key, bytes) else str(key).encode()
    start = text.find(b"{")
    end = text.find(b"}", start + 1)
    # only the hash tag is hashed (Redis Cluster specification), so the cache holds shards, not rooms
    return _slot_of_bytes(text[start + 1 : end] if start >= 0 and end > start + 1 else text)


def slot_table(reply: list[Any], asked: Host) -> list[Host | None]:
    """The node of each slot, from the reply to CLUSTER SLOTS. `asked` replaces an empty host in it."""
    table: list[Host | None] = [None] * SLOTS
    for first, last, primary, *_ in reply:
        host = (primary[0].decode() if primary[0] else "") or asked[0]
        table[first : last + 1] = [(host, int(primary[1]))] * (last + 1 - first)
    return table


def redirected_to(text: str, asked: Host) -> Host:
    """The node in a MOVED or ASK error such as ``MOVED 3999 127.0.0.1:6381``; `asked` if it has no host."""
    host, _, port = text.split()[2].rpartition(":")
    return host or asked[0], int(port)
