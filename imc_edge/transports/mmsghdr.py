"""The memory that recvmmsg(2) of Linux fills, and the call itself, which the socket module does not have.

Not compiled: mypyc cannot compile classes of ctypes.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from typing import Any, Final

ADDRESS: Final = 28
"""Bytes of a sockaddr_in6, the longer one."""


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


MESSAGE_BYTES: Final = ctypes.sizeof(_Message)
_HEAD: Final = _Message.length.offset
LENGTH: Final = struct.Struct(f"{_HEAD}xI{MESSAGE_BYTES - _HEAD - 4}x")
"""The length of a datagram, in what describes it."""


def system_call() -> Callable[..., int] | None:
    """The call, whose error is in ``ctypes.get_errno()``; None where it does not exist."""
    try:
        call: Any = ctypes.CDLL(None, use_errno=True).recvmmsg
    except (OSError, AttributeError, TypeError):  # not Linux
        return None
    call.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
    call.restype = ctypes.c_int
    return call  # type: ignore[no-any-return]


class Buffers:
    """Room for datagrams and their sources, and what describes them to the kernel."""

    def __init__(self, datagrams: int, size: int, stride: int) -> None:
        """``size``: bytes for each datagram; ``stride``: from the start of one to that of the next."""
        self.data = memoryview(bytearray(datagrams * stride))
        self.names = bytearray(datagrams * ADDRESS)
        self._vectors = (_Vector * datagrams)()
        self._messages = (_Message * datagrams)()
        data = ctypes.addressof(ctypes.c_char.from_buffer(self.data))
        names = ctypes.addressof(ctypes.c_char.from_buffer(self.names))
        for i in range(datagrams):
            self._vectors[i].base = data + i * stride
            self._vectors[i].length = size
            header = self._messages[i].header
            header.name = names + i * ADDRESS
            header.name_length = ADDRESS
            header.vectors = ctypes.addressof(self._vectors[i])
            header.vector_count = 1
        self.address = ctypes.addressof(self._messages)
        """Of the descriptions, `MESSAGE_BYTES` for each."""
        self.messages = memoryview(self._messages).cast("B")
        """The descriptions."""
