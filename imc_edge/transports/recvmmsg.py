"""Reads many datagrams in one system call, Linux's recvmmsg(2), which the socket module does not have.

Reading a datagram with ``recvfrom`` costs about as much in the interpreter as in the kernel, and makes an
address object. Most datagrams are responses, whose source does not matter. Here both costs are saved.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from typing import Final

from imc_edge.transports.mmsghdr import ADDRESS, LENGTH, MESSAGE_BYTES, Buffers, system_call

MAX_DATAGRAMS: Final = 64
"""Datagrams of one call."""
MAX_BYTES: Final = 65536
"""Bytes for each: no datagram is longer. Pages that are never written to take no memory."""
STRIDE: Final = MAX_BYTES + 832
"""From one datagram to the next. Multiples of 64 KiB would share few places in the processor's caches."""
MAX_SOURCES: Final = 1024
"""Addresses remembered as text."""

_recvmmsg = system_call()


def is_supported() -> bool:
    """Whether this system has the call."""
    return _recvmmsg is not None


class Reader:
    """Buffers for one non-blocking UDP socket."""

    def __init__(self, sock: socket.socket) -> None:
        """Only where `is_supported`."""
        self._fd = sock.fileno()
        self._family = sock.family
        self._buffers = Buffers(MAX_DATAGRAMS, MAX_BYTES, STRIDE)
        self._sources: dict[bytes, tuple[str, int]] = {}

    def read(self) -> list[bytes]:
        """The datagrams in the socket's buffer, at most `MAX_DATAGRAMS`.

        Raises OSError, also for the ICMP error of an earlier datagram.
        """
        assert _recvmmsg is not None  # noqa: S101 # a Reader is made only where it is supported
        buffers = self._buffers
        count = _recvmmsg(self._fd, buffers.address, MAX_DATAGRAMS, socket.MSG_DONTWAIT, None)
        if count < 0:
            code = ctypes.get_errno()
            if code in (errno.EAGAIN, errno.EINTR):
                return []
            raise OSError(code, os.strerror(code))
        data, at = buffers.data, 0
        datagrams: list[bytes] = []
        for (length,) in LENGTH.iter_unpack(buffers.messages[: count * MESSAGE_BYTES]):
            datagrams.append(data[at : at + length].tobytes())
            at += STRIDE
        return datagrams

    def source(self, index: int) -> tuple[str, int]:
        """The source of a datagram of the last `read`."""
        at = index * ADDRESS
        raw = bytes(self._buffers.names[at : at + ADDRESS])
        source = self._sources.get(raw)
        if source is None:
            if len(self._sources) >= MAX_SOURCES:
                self._sources.clear()
            start, length = (8, 16) if self._family == socket.AF_INET6 else (4, 4)
            host = socket.inet_ntop(self._family, raw[start : start + length])
            source = self._sources[raw] = (host, int.from_bytes(raw[2:4], "big"))
        return source
