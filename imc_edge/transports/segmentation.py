"""Many datagrams of one length to one address in one system call (Linux's UDP_SEGMENT, since 4.18).

The kernel takes them as one long packet and cuts it as late as it can; most of a datagram's cost is paid
once for all. They arrive as if they had been sent one by one.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Sequence
from typing import Final

UDP_SEGMENT: Final = 103  # linux/udp.h; the socket module has no name for it
MOST: Final = 64
"""UDP_MAX_SEGMENTS of the kernel."""
MOST_BYTES: Final = 65_000
"""All of them have to fit one packet of 64 KiB, headers included."""
_NOT_HERE: Final = {errno.EIO, errno.ENOPROTOOPT, errno.EOPNOTSUPP}
"""The network device, or the kernel, cannot do it at all."""


class Segmentation:
    """Whether a socket can do it, and how."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.works = sys.platform == "linux"

    def send(self, datagrams: Sequence[bytes], to: tuple[str, int]) -> int:
        """Send the first of these datagrams of one length to one address; returns how many.

        0: they have to be sent one by one. Raises BlockingIOError as a plain send does.
        """
        size = len(datagrams[0])
        count = min(len(datagrams), MOST, MOST_BYTES // max(size, 1))
        if count < 2 or not self.works:
            return 0
        control = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("H", size))]
        try:
            self._socket.sendmsg(datagrams[:count], control, 0, to)
        except BlockingIOError:
            raise
        except OSError as error:
            # else (EINVAL: longer than the path's packets, …): for these only, and one by one they
            # either go, in fragments, or raise the error that is to be told
            self.works = error.errno not in _NOT_HERE
            return 0
        return count
