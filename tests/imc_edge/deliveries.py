"""Real edges that deliver from a real Redis, and the SIP users they deliver to."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import redis

from imc_common import keys
from imc_common.keys import shard_of
from imc_common.rooms.request import RequestData
from imc_common.sip.message import Request
from imc_common.sip.parse import parse_message
from tests.patience import PATIENCE
from tests.servers import Server

LEASE = 30.0
"""Seconds: so long that no edge loses a shard because the machine stops for a moment."""
ROOM = "chat-000@example.org"
SHARD = shard_of(ROOM, 4)
SAME = ("Call-ID", "CSeq", "From", "To")
"""Headers by which a duplicate is recognised."""


class User:
    """A SIP user on a UDP port, which responds when told."""

    def __init__(self, name: str) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.address = f"{name}@127.0.0.1:{self.socket.getsockname()[1]}"

    def receive(self, seconds: float = PATIENCE) -> tuple[Request, tuple[str, int]] | None:
        """The next request and its source; None if none comes."""
        self.socket.settimeout(seconds)
        try:
            data, source = self.socket.recvfrom(65535)
        except TimeoutError:
            return None
        request = parse_message(data)
        assert isinstance(request, Request)
        return request, source

    def respond(self, got: tuple[Request, tuple[str, int]] | None, status: int = 200) -> Request:
        """Respond to what was received; gives the request."""
        assert got is not None
        request, source = got
        lines = [f"SIP/2.0 {status} Whatever"]
        lines += [f"{name}: {request.headers.get(name)}" for name in ("Via", "To", "From", "Call-ID", "CSeq")]
        self.socket.sendto(("\r\n".join([*lines, "Content-Length: 0"]) + "\r\n\r\n").encode(), source)
        return request

    def close(self) -> None:
        self.socket.close()


class Deployment:
    """A Redis with events for two users, and edges on it."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.settings: dict[str, object] = {"lease_ttl": LEASE}
        """What edges are started with from now on."""
        self.environment: dict[str, str] = {}
        self.redis = redis.Redis(unix_socket_path=server.socket)
        self.log = folder / "edges.log"
        self.edges: list[subprocess.Popen[bytes]] = []
        self.bob, self.carol = User("bob"), User("carol")

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        given = {"db_url": self.server.url, "listen": "udp:127.0.0.1:0"}
        given |= {"destination_networks": "127.0.0.0/8", **self.settings}
        env = {
            **os.environ,
            **self.environment,
            **{f"IMC_{name.upper()}": str(value) for name, value in given.items()},
        }
        with self.log.open("ab") as log:
            command = [sys.executable, *(arguments or ("-m", "imc_edge"))]
            edge = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        self.edges.append(edge)
        return edge

    def kill(self, edge: subprocess.Popen[bytes]) -> None:
        """End the process; its leases end at once."""
        edge.kill()
        edge.wait()
        mark = f"-{edge.pid}-".encode()
        living: list[bytes] = self.redis.zrange(keys.EDGES, 0, -1)  # type: ignore[assignment]
        for name in living:
            if mark in name:
                self.redis.zrem(keys.EDGES, name)
        leases = [keys.lease(shard, "edge") for shard in range(16)]
        for lease, owner in zip(leases, self.redis.mget(leases), strict=True):  # type: ignore[arg-type]
            if owner is not None and mark in owner:
                self.redis.delete(lease)

    def event(self, *to: User, text: str = "hello", call_id: str = "abc") -> str:
        """Add a message to these users; gives the entry's id."""
        return self.event_to([user.address for user in to], text, call_id)

    def event_to(self, to: Sequence[str], text: str = "hello", call_id: str = "abc") -> str:
        """Add a message to these addresses; gives the entry's id."""
        data = RequestData("text/html", text.encode(), call_id=call_id, at=int(time.time() * 1000)).pack()
        fields = {"event": "message", "room": ROOM, "to": " ".join(to)}
        fields |= {
            "from": "alice@example.org",
            "data": data,
        }
        entry_id: bytes = self.redis.xadd(keys.events(SHARD), fields)  # type: ignore[arg-type, assignment]
        return entry_id.decode()

    def spread(self) -> list[int]:
        """How many shards each edge owns."""
        owners = self.redis.mget([keys.lease(shard, "edge") for shard in range(16)])
        return list(Counter(owner for owner in owners if owner).values())  # type: ignore[union-attr]

    def left(self) -> int:
        """Events that are not settled."""
        return int(self.redis.xlen(keys.events(SHARD)))  # type: ignore[arg-type]

    def until(self, true: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """Wait until this holds; fail after so many seconds."""
        started = time.monotonic()
        while not true():
            assert time.monotonic() - started < seconds, self.log.read_text()[-3000:]
            time.sleep(0.01)

    def end(self) -> None:
        for edge in self.edges:
            if edge.poll() is None:
                edge.send_signal(signal.SIGCONT)
                edge.kill()
            edge.wait()
        for user in (self.bob, self.carol):
            user.close()
        self.redis.close()


def same(one: Request, other: Request) -> bool:
    """Whether both are the same MESSAGE to their recipient."""
    return all(one.headers.get(name) == other.headers.get(name) for name in SAME)
