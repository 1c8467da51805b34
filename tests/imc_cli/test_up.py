"""The parts of `imc up` that need no processes."""

from __future__ import annotations

import asyncio
import re
import sys

import pytest

from imc_cli import up
from imc_cli.supervisor import ChildError
from imc_common.settings import Endpoint, load


async def test_an_edge_that_never_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while it is given up, with what it said last."""
    monkeypatch.setattr(up, "START_SECONDS", 0.2)
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
    )
    host, port = transport.get_extra_info("sockname")
    with pytest.raises(ChildError, match=rf"127\.0\.0\.1:{port} does not serve within 0\.2 s: no answer"):
        await up._until_200((host, port))
    transport.close()


def test_each_edge_listens_elsewhere() -> None:
    """10 ports above the one before; a free port stays one, and is known before the edge starts."""
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
def test_how_to_chat_names_an_address_that_can_be_reached(
    listen: Endpoint, via: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines can be pasted as they are."""
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
def test_loopback_is_a_destination_only_of_what_nobody_else_reaches(
    given: dict[str, str], listed: tuple[str, ...] | None
) -> None:
    """The users of a first try are on this machine; whoever says where they are is not overruled."""
    wanted = {"destination_networks": listed} if listed else {}
    assert up._destinations(load(None, {}, given)) == wanted
