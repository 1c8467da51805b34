"""Where a user agent listens, and the address at which its peers reach it there."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket

from imc_common.errors import ImcError
from imc_common.sip.ports import SIP_PORT
from imc_common.sip.uri import Uri

HostPort = tuple[str, int]


class UserAgentError(ImcError):
    """The user agent cannot use this URI or its address."""


def user_uri(text: str) -> Uri:
    """The URI of a user. Raises UserAgentError."""
    try:
        uri = Uri.parse(text)
    except ValueError as error:
        raise UserAgentError(f"{text!r} is not a SIP URI: {error}") from error
    if uri.user is None or not uri.is_sip:
        raise UserAgentError(f"{text!r} is not sip:USER@HOST:PORT")
    return uri


def place_in(uri: Uri) -> HostPort | None:
    """Host and port, if the URI names an address of a machine; None if it names a domain."""
    host = uri.host.strip("[]")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if host != "localhost":
            return None
    return host, SIP_PORT if uri.port is None else uri.port


async def resolved(via: HostPort) -> HostPort:
    """The IP address and port of the next hop. Raises UserAgentError."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(*via, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise UserAgentError(f"{via[0]} cannot be resolved: {error.strerror}") from error
    host, port = found[0][4][:2]
    return str(host), int(port)


def towards(via: HostPort) -> str:
    """The address of this machine towards an IP address. Raises UserAgentError if there is no route."""
    family = socket.AF_INET6 if ":" in via[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(via)
        except OSError as error:
            raise UserAgentError(f"{via[0]}:{via[1]} is unreachable: {error.strerror}") from error
        host: str = probe.getsockname()[0]
        return host


def bind(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """A UDP and a TCP socket on the same address and port. Port 0: one that is free for both.

    Raises UserAgentError.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for attempts_left in range(9, -1, -1):
        udp, tcp = socket.socket(family, socket.SOCK_DGRAM), socket.socket(family, socket.SOCK_STREAM)
        try:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            udp.bind((host, port))
            tcp.bind((host, udp.getsockname()[1]))
        except (OSError, OverflowError) as error:
            udp.close()
            tcp.close()
            if port or not attempts_left or getattr(error, "errno", 0) != errno.EADDRINUSE:
                raise UserAgentError(f"cannot listen on {host}:{port}: {error}") from error
        else:
            return udp, tcp
    raise AssertionError("the last attempt returns or raises")


def reached_at(udp: socket.socket, via: HostPort) -> str:
    """HOST:PORT of a bound socket, as the next hop can use it."""
    host, port = udp.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = towards(via)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
