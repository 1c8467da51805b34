"""Makes the kernel refuse IPv6 sockets to a process, as one without IPv6 does: a seccomp filter (Linux)."""

from __future__ import annotations

import ctypes
import errno
import platform
import socket

SOCKET_CALL = {"x86_64": 41, "aarch64": 198}.get(platform.machine())
"""Number of socket(2); None: not known for this machine."""
_NO_NEW_PRIVS, _SECCOMP, _FILTER = 38, 22, 2  # linux/prctl.h
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # linux/bpf_common.h
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000  # linux/seccomp.h


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("jt", ctypes.c_uint8),
        ("jf", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(_Instruction)))


def refuse_ipv6() -> None:
    """From now on, socket(AF_INET6, …) fails with EAFNOSUPPORT in this process and its children."""
    assert SOCKET_CALL is not None
    instructions = (_Instruction * 6)(
        _Instruction(_LOAD, 0, 0, 0),  # the number of the call
        _Instruction(_JUMP_IF_EQUAL, 0, 3, SOCKET_CALL),
        _Instruction(_LOAD, 0, 0, 16),  # its first argument
        _Instruction(_JUMP_IF_EQUAL, 0, 1, socket.AF_INET6),
        _Instruction(_RETURN, 0, 0, _FAIL | errno.EAFNOSUPPORT),
        _Instruction(_RETURN, 0, 0, _ALLOW),
    )
    program = _Program(len(instructions), instructions)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert libc.prctl(_SECCOMP, _FILTER, ctypes.byref(program)) == 0, ctypes.get_errno()
