"""Writes rooms directly to Redis, where creating them by commands would take too long."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

from bench.load import Group
from imc_common.keys import Keys, owned_rooms, shard_of
from imc_common.keys import devices as devices_in
from imc_common.rooms.request import RequestData

DOMAIN = "bench.example"  # of the load generator
KEYS = Keys()
BATCH = 1 << 20


def preload(
    redis_socket: Path, group: Group, hash_size: int = 4, stored: int = 0, *, devices: bool = False
) -> None:
    """Write all rooms of the group with their members. The first member is the owner.

    ``stored``: messages of 40 bytes in the history of each room. ``devices``: each member has one device,
    whose client shows the room as a group chat.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(redis_socket))
        replies = 0
        batch = bytearray()
        for number in range(group.rooms):
            for command in room(group, number, hash_size, devices=devices):
                batch += encode(command)
                replies += 1
            if stored:
                batch += history(group, number, hash_size, stored)
                replies += 1
            if len(batch) > BATCH or number == group.rooms - 1:
                connection.sendall(batch)
                _await_integers(connection, replies)
                batch, replies = bytearray(), 0


def room(group: Group, number: int, hash_size: int, *, devices: bool = False) -> Iterator[tuple[str, ...]]:
    """The commands that create one room. The reply to each is an integer."""
    address = f"chat-{group.id}-{number}@{DOMAIN}"
    members = [f"u-{group.id}-{number}-{member}@{DOMAIN}" for member in range(group.members)]
    shard = shard_of(address, hash_size)
    client = " devices" if devices else ""
    roles = [field for member in members for field in (member, f"member{client}")]
    roles[1] = f"owner{client}"
    yield ("HSET", KEYS.room(shard, address), "private", "0", "owner", members[0], "created_at", "0")
    yield ("HSET", KEYS.members(shard, address), *roles)
    if devices:
        names = [field for each in members for field in (f"{each};gr=urn:uuid:{number:036x}", "device")]
        yield ("HSET", devices_in(shard, address), *names)
    yield ("ZADD", KEYS.rooms(shard), "0", address)
    yield ("SADD", owned_rooms(shard, members[0]), address)


def history(group: Group, number: int, hash_size: int, stored: int) -> bytes:
    """Fill the history of one room, as `lua/include/keep.lua` does. The reply is an integer.

    The messages are of now: workers remove what is too old. The load generator counts them as `earlier`.
    """
    address = f"chat-{group.id}-{number}@{DOMAIN}"
    shard = shard_of(address, hash_size)
    sender = f"u-{group.id}-{number}-0@{DOMAIN}"
    now = time.time_ns() // 1_000_000
    body = f"imcbench 0 {group.id} {number} ".ljust(40, ".").encode()
    data = RequestData(body=body, call_id=f"{number:x}-0-{number}", at=now).pack()
    add = b"redis.call('XADD', KEYS[1], ARGV[4] - ARGV[1] + i .. '-0', ARGV[2], ARGV[3])"
    script = b"for i = 1, tonumber(ARGV[1]) do %b end return 1" % add
    words = [
        b"EVAL",
        script,
        b"1",
        KEYS.history(shard, address).encode(),
        b"%d" % stored,
        sender.encode(),
        data,
        b"%d" % now,
    ]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def encode(command: tuple[str, ...]) -> bytes:
    """One command in RESP."""
    parts = [f"*{len(command)}\r\n"]
    parts += [f"${len(part)}\r\n{part}\r\n" for part in command]
    return "".join(parts).encode()


def _await_integers(connection: socket.socket, count: int) -> None:
    left, tail = count, b""
    while left:
        tail += connection.recv(1 << 16)
        lines = tail.split(b"\r\n")
        tail = lines.pop()
        for line in lines:
            if not line.startswith(b":"):
                raise RuntimeError(f"Redis refused a room: {line.decode()}")
        left -= len(lines)
