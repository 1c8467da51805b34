"""Measures what rooms of silent members cost other rooms: ``python -m tests.silent_rooms``.

Three users write to 28 rooms of 495 members each, as much as the default limits allow. None of these members
responds. Meanwhile others write to rooms whose members respond at once. Everything stays on loopback.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from imc_common.keys import Keys, owned_rooms, shard_of
from imc_common.settings import Endpoint
from tests.flood import percentile
from tests.imc_edge.process import EdgeProcess, edge_process, fresh
from tests.servers import running

ROOMS, MEMBERS, WRITERS = 28, 495, 3
OTHERS, RATE = 8, 40
"""Other rooms, and the messages to all of them per second."""
HASH_SIZE = 4
KEYS = Keys()


def make_room(client: redis.Redis, room: str, members: list[str]) -> None:
    """A room whose first member is the owner."""
    shard = shard_of(room, HASH_SIZE)
    roles = dict.fromkeys(members, "member") | {members[0]: "owner"}
    client.hset(KEYS.room(shard, room), mapping={"private": 0, "owner": members[0], "created_at": 0})
    client.hset(KEYS.members(shard, room), mapping=roles)
    client.zadd(KEYS.rooms(shard), {room: 0})
    client.sadd(owned_rooms(shard, members[0]), room)


@contextmanager
def worker(url: str) -> Iterator[None]:
    """A worker for the length of the block."""
    env = {**os.environ, "IMC_DB_URL": url, "IMC_LOG_LEVEL": "error", "IMC_LEASE_TTL": "1"}
    child = subprocess.Popen([sys.executable, "-P", "-m", "imc_worker"], env=env)
    try:
        yield
    finally:
        child.kill()
        child.wait()


class Users:
    """Senders and members of the other rooms, and the senders to the silent ones."""

    def __init__(self, at: Endpoint) -> None:
        self._at = (at.host, at.port)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.001)
        self._silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._silent.bind(("127.0.0.1", 0))  # and never read
        self.port, self._silent_port = self._socket.getsockname()[1], self._silent.getsockname()[1]
        self._sent: dict[bytes, float] = {}
        self.delays: list[float] = []

    def make_rooms(self, client: redis.Redis) -> None:
        """The silent ones and the others."""
        for number in range(OTHERS):
            make_room(
                client, f"chat-{number}@example.org", [f"alice-{number}@example.org", self._bob(number)]
            )
        for number in range(ROOMS):
            members = [f"silent-{number}-{each}@127.0.0.1:{self._silent_port}" for each in range(MEMBERS)]
            make_room(
                client, f"dead-{number}@example.org", [f"mallory-{number % WRITERS}@example.org", *members]
            )

    def _bob(self, number: int) -> str:
        return f"bob-{number}@127.0.0.1:{self.port}"

    def _send(self, sender: str, room: str, body: bytes) -> None:
        request = fresh(From=f"<sip:{sender}@example.org>;tag=1", To=f"<sip:{room}@example.org>")
        request = request.replace(b"sip:chat-000@example.org SIP", f"sip:{room}@example.org SIP".encode())
        head = request.partition(b"\r\n\r\n")[0].replace(
            b"Content-Length: 5", b"Content-Length: %d" % len(body)
        )
        self._socket.sendto(head + b"\r\n\r\n" + body, self._at)

    def chat(self, seconds: float, *, attack: bool) -> list[float]:
        """Milliseconds from each message to its delivery, sorted; what did not arrive counts as endless."""
        self.delays, self._sent = [], {}
        started = time.monotonic()
        sent = dead = 0
        while (now := time.monotonic()) < started + seconds + 3:
            if now < started + seconds:
                if now >= started + sent / RATE:
                    body = b"%08d" % sent
                    self._sent[body] = now
                    self._send(f"alice-{sent % OTHERS}", f"chat-{sent % OTHERS}", body)
                    sent += 1
                # each may cause 2,000 deliveries at once, then 200 a second
                allowed = WRITERS * (2000 + 200 * (now - started)) / MEMBERS
                if attack and dead < allowed:
                    number = dead % ROOMS
                    self._send(f"mallory-{number % WRITERS}", f"dead-{number}", b"anybody there?")
                    dead += 1
            self._read()
        return sorted([*self.delays, *(float("inf") for _ in self._sent)])

    def _read(self) -> None:
        try:
            data, source = self._socket.recvfrom(65535)
        except TimeoutError:
            return
        if not data.startswith(b"MESSAGE "):
            return
        head, _, body = data.partition(b"\r\n\r\n")
        begun = self._sent.pop(body[-8:], None)
        if begun is not None:
            self.delays.append((time.monotonic() - begun) * 1000)
        names = (b"Via:", b"From:", b"To:", b"Call-ID:", b"CSeq:")
        lines = [line for line in head.split(b"\r\n") if line.startswith(names)]
        response = b"\r\n".join([b"SIP/2.0 200 OK", *lines, b"Content-Length: 0", b"", b""])
        self._socket.sendto(response, source)


def measure(edge: EdgeProcess, client: redis.Redis, seconds: float) -> None:
    """Without and with the silent rooms."""
    users = Users(edge.endpoints()[0])
    users.make_rooms(client)
    users.chat(2, attack=False)
    for attack in (False, True):
        delays = users.chat(seconds, attack=attack)
        print(
            f"{'beside silent rooms' if attack else 'quiet'}: {len(delays)} messages of others, median"
            f" {percentile(delays, 0.5):.1f} ms, p99 {percentile(delays, 0.99):.1f} ms, longest"
            f" {delays[-1]:.1f} ms",
            flush=True,
        )


def main() -> None:
    """Measure and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    seconds = parser.parse_args().seconds
    with (
        tempfile.TemporaryDirectory() as name,
        running("redis-server", Path(name)) as server,
        worker(server.url),
        edge_process(Path(name), server.url) as edge,
    ):
        measure(edge, redis.Redis(unix_socket_path=server.socket), seconds)


if __name__ == "__main__":
    main()
