"""Reads many datagrams in one system call, Linux's recvmmsg(2), which the socket module does not have.

Reading a datagram with ``recvfrom`` costs about as much in the interpreter as in the kernel, and makes an
address object. Most datagrams are responses, whose source does not matter. Here both costs are saved.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Callable
from typing import Any, Final

MAX_DATAGRAMS: Final = 64
"""Datagrams of one call."""
MAX_BYTES: Final = 65536
"""Bytes for each: no datagram is longer. Pages that are never written to take no memory."""
MAX_SOURCES: Final = 1024
"""Addresses remembered as text."""
_ADDRESS: Final = 28  # sockaddr_in6, the longer one


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.c_void_p),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    _fields_ = (("header", _Header), ("length", ctypes.c_uint))


_HEAD: Final = _Message.length.offset
_LENGTH: Final = struct.Struct(f"{_HEAD}xI{ctypes.sizeof(_Message) - _HEAD - 4}x")


def _system_call() -> Callable[..., int] | None:
    try:
        call: Any = ctypes.CDLL(None, use_errno=True).recvmmsg
    except (OSError, AttributeError, TypeError):  # not Linux
        return None
    call.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
    call.restype = ctypes.c_int
    return call  # type: ignore[no-any-return]


_recvmmsg = _system_call()


def is_supported() -> bool:
    """Whether this system has the call."""
    return _recvmmsg is not None


class Reader:
    """Buffers for one non-blocking UDP socket."""

    def __init__(self, sock: socket.socket) -> None:
        """Only where `is_supported`."""
        self._fd = sock.fileno()
        self._family = sock.family
        self._data = memoryview(bytearray(MAX_DATAGRAMS * MAX_BYTES))
        self._names = bytearray(MAX_DATAGRAMS * _ADDRESS)
        self._sources: dict[bytes, tuple[str, int]] = {}
        self._vectors = (_Vector * MAX_DATAGRAMS)()
        self._messages = (_Message * MAX_DATAGRAMS)()
        data = ctypes.addressof(ctypes.c_char.from_buffer(self._data))
        names = ctypes.addressof(ctypes.c_char.from_buffer(self._names))
        for i in range(MAX_DATAGRAMS):
            self._vectors[i].base = data + i * MAX_BYTES
            self._vectors[i].length = MAX_BYTES
            header = self._messages[i].header
            header.name = names + i * _ADDRESS
            header.name_length = _ADDRESS
            header.vectors = ctypes.addressof(self._vectors[i])
            header.vector_count = 1
        self._address = ctypes.addressof(self._messages)
        self._lengths = memoryview(self._messages).cast("B")

    def read(self) -> list[bytes]:
        """The datagrams in the socket's buffer, at most `MAX_DATAGRAMS`.

        Raises OSError, also for the ICMP error of an earlier datagram.
        """
        assert _recvmmsg is not None  # noqa: S101 # a Reader is made only where it is supported
        count = _recvmmsg(self._fd, self._address, MAX_DATAGRAMS, socket.MSG_DONTWAIT, None)
        if count < 0:
            code = ctypes.get_errno()
            if code in (errno.EAGAIN, errno.EINTR):
                return []
            raise OSError(code, os.strerror(code))
        data, at, datagrams = self._data, 0, []
        for (length,) in _LENGTH.iter_unpack(self._lengths[: count * _LENGTH.size]):
            datagrams.append(data[at : at + length].tobytes())
            at += MAX_BYTES
        return datagrams

    def source(self, index: int) -> tuple[str, int]:
        """The source of a datagram of the last `read`."""
        at = index * _ADDRESS
        raw = bytes(self._names[at : at + _ADDRESS])
        source = self._sources.get(raw)
        if source is None:
            if len(self._sources) >= MAX_SOURCES:
                self._sources.clear()
            start, length = (8, 16) if self._family == socket.AF_INET6 else (4, 4)
            host = socket.inet_ntop(self._family, raw[start : start + length])
            source = self._sources[raw] = (host, int.from_bytes(raw[2:4], "big"))
        return source
