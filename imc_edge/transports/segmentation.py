"""Sends many datagrams of one length to one address in one system call (UDP_SEGMENT, Linux 4.18 and newer).

The kernel takes them as one long packet and cuts it as late as possible, so most of the cost of a datagram is
paid once for all of them. They arrive as if they had been sent one by one.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Sequence
from typing import Final

UDP_SEGMENT: Final = 103  # linux/udp.h; the socket module has no name for it
MAX_SEGMENTS: Final = 64
"""UDP_MAX_SEGMENTS of the kernel."""
MAX_BYTES: Final = 65_000
"""All segments have to fit one packet of 64 KiB, headers included."""
_UNSUPPORTED: Final = {errno.EIO, errno.ENOPROTOOPT, errno.EOPNOTSUPP}
"""The network device, or the kernel, has no segmentation at all."""


class Segmentation:
    """Segmentation on one socket, as long as it works there."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.works = sys.platform == "linux"

    def send(self, datagrams: Sequence[bytes], to: tuple[str, int]) -> int:
        """Send as many of these datagrams of one length as one call can; returns how many.

        0: they have to be sent one by one. Raises BlockingIOError as a plain send does.
        """
        size = len(datagrams[0])
        count = min(len(datagrams), MAX_SEGMENTS, MAX_BYTES // max(size, 1))
        if count < 2 or not self.works:
            return 0
        control = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("H", size))]
        try:
            self._socket.sendmsg(datagrams[:count], control, 0, to)
        except BlockingIOError:
            raise
        except OSError as error:
            # Other errors concern these datagrams only (EINVAL: they are longer than the path's MTU, …). Sent
            # one by one, they go out in fragments, or raise the error that their users have to hear of.
            self.works = error.errno not in _UNSUPPORTED
            return 0
        return count
