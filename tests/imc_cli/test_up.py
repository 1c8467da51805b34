"""The parts of `imc up` that need no processes; the rest is in tests/integration/test_up.py."""

from __future__ import annotations

import asyncio
import re
import sys

import pytest

from imc_cli import up
from imc_cli.supervisor import ChildError
from imc_common.settings import Endpoint, load


async def test_an_edge_that_does_not_become_ready_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its last response."""
    monkeypatch.setattr(up, "START_SECONDS", 0.2)
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
    )
    host, port = transport.get_extra_info("sockname")
    with pytest.raises(ChildError, match=rf"127\.0\.0\.1:{port} is not ready after 0\.2 s: no response"):
        await up._until_200((host, port))
    transport.close()


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
