"""Reads a password from the terminal or standard input. Never from an argument, which other users could
see."""

from __future__ import annotations

import getpass
import sys

from imc_common.errors import ImcError

MAX_LENGTH = 256


class PasswordError(ImcError):
    """The password is missing or cannot be used."""


def read_password(*, twice: bool = False) -> str:
    """The password. ``twice``: at a terminal, prompt for it again. Raises PasswordError."""
    if sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if twice and getpass.getpass("Repeat the password: ") != password:
            raise PasswordError("the passwords differ")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password or not password.isprintable() or len(password) > MAX_LENGTH:
        raise PasswordError(f"a password has 1 to {MAX_LENGTH} printable characters")
    return password
