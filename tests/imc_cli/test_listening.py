"""An address that is taken is reported with the process that has it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator

import pytest

from imc_cli.listening import AddressUnusableError, check_free, holder
from imc_common.settings import Endpoint

Listen = Callable[[str, str], int]


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Listens at a free port of an address; returns the port."""
    opened: list[socket.socket] = []

    def make(transport: str, host: str) -> int:
        kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
        opened.append(sock)
        sock.bind((host, 0))
        if transport != "udp":
            sock.listen()
        port: int = sock.getsockname()[1]
        return port

    yield make
    for sock in opened:
        sock.close()


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("127.0.0.1", "0.0.0.0"),
        ("::", "127.0.0.1"),
        ("::1", "::1"),
        ("::1", "::"),
    ],
)
def test_a_taken_address_names_its_process(listen: Listen, transport: str, there: str, wanted: str) -> None:
    """Also if one of the two is the address of all, or an IPv6 socket that takes IPv4 too."""
    taken = Endpoint(transport, wanted, listen(transport, there))
    with pytest.raises(AddressUnusableError) as caught:
        check_free([Endpoint("udp", "127.0.0.1", 0), taken], shared=False)
    assert str(caught.value).startswith(f"cannot listen on {taken}: address in use by ")
    assert f"(pid {os.getpid()})" in str(caught.value)
    assert "--listen" in str(caught.value)


def test_free_addresses_are_given_back(listen: Listen) -> None:
    """So the edge can have them."""
    port = listen("udp", "127.0.0.1")
    endpoint = Endpoint("tcp", "127.0.0.1", port)  # UDP has the port, TCP does not
    for _ in range(2):
        check_free([endpoint], shared=False)
    assert holder(endpoint) == ""


def test_a_port_may_be_shared_on_purpose() -> None:
    """With `share_ports` several edges bind it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        endpoint = Endpoint("udp", "127.0.0.1", other.getsockname()[1])
        check_free([endpoint], shared=True)
        with pytest.raises(AddressUnusableError, match="address in use"):
            check_free([endpoint], shared=False)


def test_an_address_of_another_machine_is_refused() -> None:
    """That is not called "in use"."""
    with pytest.raises(AddressUnusableError, match=r"udp:192\.0\.2\.1:5060: Cannot assign requested address"):
        check_free([Endpoint("udp", "192.0.2.1", 5060)], shared=False)
