"""The parts of `imc up` that need no processes; the rest is in tests/integration/test_up.py."""

from __future__ import annotations

import re
import sys

import pytest

from imc_cli import up
from imc_cli.readiness import Readiness
from imc_cli.supervisor import ChildError
from imc_common.settings import Endpoint, load
from imc_common.systemd import notify


async def test_a_process_that_is_never_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while `imc up` gives up, and names it."""
    monkeypatch.setattr(up, "START_SECONDS", 0.2)
    with Readiness.of(["edge 1", "worker 1"]) as readiness:
        notify("READY=1", env={"NOTIFY_SOCKET": str(readiness.paths["worker 1"])})
        with pytest.raises(ChildError, match=r"not ready after 0\.2 s: edge 1\."):
            await up._all_ready(readiness)


def test_each_edge_has_its_own_ports() -> None:
    """10 above those of the edge before. Port 0 is replaced with a free port."""
    listen = (Endpoint("udp", "127.0.0.1", 5060), Endpoint("tcp", "::1", 0))
    udp, tcp = up._moved(listen, 2)
    assert udp == Endpoint("udp", "127.0.0.1", 5080)
    assert tcp.port > 0


@pytest.mark.parametrize(
    ("listen", "via"),
    [
        (Endpoint("udp", "0.0.0.0", 5060), "127.0.0.1:5060"),
        (Endpoint("udp", "::", 5062), "[::1]:5062"),
        (Endpoint("udp", "10.1.2.3", 5060), "10.1.2.3:5060"),
    ],
)
def test_the_chat_commands_have_a_reachable_address(
    listen: Endpoint, via: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They can be pasted unchanged."""
    monkeypatch.setattr(sys, "argv", ["/usr/bin/imc", "up"])
    lines = re.findall(r"imc chat sip:(\w+)@127\.0\.0\.1:\d+ .* --via (\S+)", up._how_to_chat(listen))
    assert lines == [("alice", via), ("bob", via)]


@pytest.mark.parametrize(
    ("given", "listed"),
    [
        ({}, up.LOOPBACK),
        ({"listen": "udp:[::1]:5060,tcp:127.0.0.1:5060"}, up.LOOPBACK),
        ({"listen": "udp:127.0.0.1:5060,udp:0.0.0.0:5060"}, None),
        ({"destination_networks": "10.0.0.0/8"}, None),
        ({"destination_networks": ""}, None),
    ],
)
def test_loopback_is_a_destination_only_if_edges_listen_on_loopback(
    given: dict[str, str], listed: tuple[str, ...] | None
) -> None:
    """A destination_networks of the operator is not changed."""
    wanted = {"destination_networks": listed} if listed else {}
    assert up._destinations(load(None, {}, given)) == wanted


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", ""),
        ("127.0.0.1:9090", "127.0.0.1:9092"),
        ("[::1]:9090", "[::1]:9092"),
        ("127.0.0.1:0", "127.0.0.1:0"),
    ],
)
def test_each_process_has_its_own_status_port(given: str, expected: str) -> None:
    """One above that of the process before. Port 0 takes a free one anyway."""
    assert up._status_listen(load(None, {}, {"status_listen": given}), 2) == expected
