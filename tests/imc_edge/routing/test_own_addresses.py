"""Edges know where all edges listen."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from typing import Any

import pytest

from imc_common.scripts import Command
from imc_common.store import StoreUnreachable
from imc_edge.flow import Hop
from imc_edge.routing.own_addresses import OwnAddresses, is_local


class Shared:
    """The sorted set in which all edges publish their addresses."""

    def __init__(self) -> None:
        self.published: set[str] = set()
        self.unreachable = False

    def script(self, name: str, keys: Sequence[str], args: Sequence[str | bytes | int]) -> Command:
        """Only heartbeats are run."""
        assert (name, list(keys)) == ("record_heartbeat", ["imc:edge_addresses"])
        return ("BEAT", str(args[0]))

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """Add a published address, remove a withdrawn one."""
        if self.unreachable:
            raise StoreUnreachable("unreachable")
        for name, *words in commands:
            if name == "BEAT":
                self.published.add(str(words[0]))
            else:
                self.published -= {str(word) for word in words[1:]}
        return [[each.encode() for each in sorted(self.published)] for _ in commands]


@pytest.mark.parametrize("host", ["192.0.2.7", "::ffff:192.0.2.7", "64:ff9b::c000:207"])
async def test_the_address_of_one_edge_is_known_to_all(host: str) -> None:
    """In any notation; no longer after it has ended."""
    shared = Shared()
    one, other = OwnAddresses(shared, [("192.0.2.7", 5060)]), OwnAddresses(shared, [("127.0.0.1", 5070)])
    await one.heartbeat()
    assert Hop("udp", host, 5060) not in other
    await other.heartbeat()
    assert Hop("udp", host, 5060) in other
    assert Hop("tcp", host, 5061) not in other
    await one.forget()
    await other.heartbeat()
    assert Hop("udp", host, 5060) not in other


async def test_during_an_outage_of_redis_the_known_addresses_stay() -> None:
    """An edge keeps what it read last."""
    shared = Shared()
    shared.published.add("192.0.2.7|5060")
    own = OwnAddresses(shared, [("127.0.0.1", 5070)])
    await own.heartbeat()
    shared.unreachable = True
    with pytest.raises(StoreUnreachable):
        await own.heartbeat()
    assert Hop("udp", "192.0.2.7", 5060) in own


def test_a_wildcard_is_every_address_of_this_host() -> None:
    """At the port that is listened on."""
    own = OwnAddresses(Shared(), [("0.0.0.0", 5060)])
    assert Hop("udp", "127.0.0.5", 5060) in own
    assert Hop("udp", "127.0.0.5", 5061) not in own
    assert Hop("udp", "192.0.2.7", 5060) not in own
    assert is_local("127.0.0.1")


@pytest.mark.parametrize(
    ("advertise", "known"),
    [
        ("192.0.2.7", ("192.0.2.7", 5060)),
        ("192.0.2.7:5090", ("192.0.2.7", 5090)),
        ("[2001:db8::7]:5090", ("2001:db8::7", 5090)),
        ("[2001:db8::7]", ("2001:db8::7", 5060)),
    ],
)
async def test_the_advertised_address_is_published(advertise: str, known: tuple[str, int]) -> None:
    """Behind NAT, others know an edge by that one."""
    own = OwnAddresses(Shared(), [("127.0.0.1", 5060)], advertise)
    await own.heartbeat()
    assert Hop("udp", *known) in own


async def test_an_advertised_name_is_not_looked_up() -> None:
    """It could change; and the edges behind it publish their own addresses."""
    shared = Shared()
    await OwnAddresses(shared, [("127.0.0.1", 5060)], "sip.example.org").heartbeat()
    assert shared.published == {"127.0.0.1|5060"}


def test_without_a_socket_an_address_is_not_local_for_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file descriptor: the error does not escape, and the result is not remembered."""

    class NoSocket:
        def __init__(self, *_: object) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(socket, "socket", NoSocket)
        assert not is_local("127.0.0.77")
        OwnAddresses(Shared(), [("0.0.0.0", 5060)])
    assert is_local("127.0.0.77")
