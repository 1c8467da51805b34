"""Whether addresses can be listened on, and which process has those that cannot."""

from __future__ import annotations

import errno
import ipaddress
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from imc_common.errors import ImcError
from imc_common.settings import Endpoint

_LISTEN = "0A"  # the state of a listening TCP socket in /proc/net/tcp


class AddressUnusableError(ImcError):
    """An address cannot be listened on; says why, whose it is where that can be found out, and what to do."""


def check_free(endpoints: Iterable[Endpoint], *, shared: bool) -> None:
    """Bind each address as an edge does, and give it back. Raises `AddressUnusableError` if one fails.

    ``shared``: other processes may bind it too (`share_ports`).
    """
    for endpoint in endpoints:
        try:
            _bind(endpoint, shared=shared)
        except OSError as error:
            raise AddressUnusableError(_problem(endpoint, error)) from error


def _bind(endpoint: Endpoint, *, shared: bool) -> None:
    ipv6, stream = ":" in endpoint.host, endpoint.transport != "udp"
    family = socket.AF_INET6 if ipv6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM) as sock:
        if stream:  # connections of an earlier edge that are in TIME_WAIT are no hindrance
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if ipv6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((endpoint.host, endpoint.port))


def _problem(endpoint: Endpoint, error: OSError) -> str:
    if error.errno != errno.EADDRINUSE:
        return f"cannot listen on {endpoint}: {error.strerror or error}"
    whose = holder(endpoint)
    return (
        f"cannot listen on {endpoint}: address in use{f' by {whose}' if whose else ''}."
        f" Stop that process, or choose another address with --listen"
    )


def holder(endpoint: Endpoint) -> str:
    """The process that has an address, as ``NAME (pid N)``; empty if this cannot be found out.

    Linux shows it to root, and to the user whose process it is.
    """
    sockets = set(_sockets(endpoint))
    for process in Path("/proc").glob("[0-9]*") if sockets else ():
        with suppress(OSError):  # it has ended, or is another user's
            if sockets & set(_descriptors(process)):
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
    return ""


def _descriptors(process: Path) -> Iterator[str]:
    """What the descriptors of a process lead to."""
    for descriptor in (process / "fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            yield str(descriptor.readlink())


def _sockets(endpoint: Endpoint) -> Iterator[str]:
    """The sockets at this port whose address is the same or includes it, as descriptors lead to them."""
    protocol = "udp" if endpoint.transport == "udp" else "tcp"
    try:
        wanted = ipaddress.ip_address(endpoint.host)
    except ValueError:
        return  # a name
    for table in (protocol, f"{protocol}6"):
        try:
            rows = Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue  # no Linux, or no IPv6
        for row in rows:
            _, local, _, state, *_, inode = row.split()[:10]
            host, _, port = local.partition(":")
            address = _address(host)
            same = address == wanted or address.is_unspecified or wanted.is_unspecified
            if int(port, 16) == endpoint.port and same and (protocol == "udp" or state == _LISTEN):
                yield f"socket:[{inode}]"


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address as /proc/net has it: numbers of 32 bits, each with its bytes in the machine's order."""
    numbers = [int(text[first : first + 8], 16) for first in range(0, len(text), 8)]
    return ipaddress.ip_address(b"".join(number.to_bytes(4, sys.byteorder) for number in numbers))
