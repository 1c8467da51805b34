"""A password: asked for at a terminal, or a line of standard input; never an argument, which others read."""

from __future__ import annotations

import getpass
import sys

from imc_common.errors import ImcError

LONGEST = 256


class PasswordError(ImcError):
    """There is no password, or none that can be used."""


def read_password(*, twice: bool = False) -> str:
    """The password; at a terminal with ``twice`` typed once more. Raises PasswordError."""
    if sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if twice and getpass.getpass("Once more: ") != password:
            raise PasswordError("these are two different passwords")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password or not password.isprintable() or len(password) > LONGEST:
        raise PasswordError(f"a password has 1 to {LONGEST} characters that can be printed")
    return password
