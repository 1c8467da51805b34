"""Digest authentication of the user agent, and reading of passwords. Also covers password.py."""

from __future__ import annotations

import getpass
import io
import sys
from collections.abc import Callable

import pytest

from imc_cli.digest_client import DigestClient
from imc_cli.password import PasswordError, read_password
from imc_common.sip.auth import Authorization, Challenge
from imc_common.sip.digest import digest, is_right

URI = "sip:chat-000@example.org"


def given(client: DigestClient) -> Authorization:
    (line,) = client.headers("MESSAGE", URI)
    return Authorization.parse(line.removeprefix("Authorization: "))


def test_there_are_no_credentials_before_the_first_challenge() -> None:
    """Nor after one that is not supported."""
    client = DigestClient("alice", "secret")
    assert client.headers("MESSAGE", URI) == []
    assert not client.challenged([])
    assert not client.challenged(["Basic realm=x", str(Challenge("r", "n", "SHA-1", qop=True)), "Digest"])
    assert client.headers("MESSAGE", URI) == []


def test_the_strongest_challenge_is_used_with_a_rising_count() -> None:
    """Later requests use the same nonce with the next count, until another challenge comes."""
    client = DigestClient("alice", "secret")
    assert client.challenged([str(Challenge("r", "n", each, qop=True)) for each in ("MD5", "SHA-256")])
    found = [given(client) for _ in range(2)]
    assert [(each.algorithm, each.count) for each in found] == [
        ("SHA-256", "00000001"),
        ("SHA-256", "00000002"),
    ]
    assert all(is_right(each, digest("SHA-256", "alice:r:secret"), "MESSAGE") for each in found)
    assert client.challenged([str(Challenge("r", "n2", "MD5", qop=True, stale=True))])
    assert (given(client).nonce, given(client).count) == ("n2", "00000002")


class Keyboard(io.StringIO):
    """Standard input at a terminal."""

    def isatty(self) -> bool:
        return True


def typed(monkeypatch: pytest.MonkeyPatch, *words: str) -> Callable[[], str]:
    found = iter(words)
    monkeypatch.setattr(sys, "stdin", Keyboard())
    monkeypatch.setattr(getpass, "getpass", lambda _prompt: next(found))
    return lambda: read_password(twice=True)


def test_a_new_password_is_prompted_for_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing error would lock the user out."""
    assert typed(monkeypatch, "secret", "secret")() == "secret"
    with pytest.raises(PasswordError, match="the passwords differ"):
        typed(monkeypatch, "secret", "secrte")()


@pytest.mark.parametrize("text", ["", "\n", "a\x1bb\n", "x" * 257, "tab\there\n"])
def test_an_unusable_password_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Empty, too long, or with unprintable characters."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    with pytest.raises(PasswordError):
        read_password()


def test_a_password_is_one_line_of_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """For scripts. Blanks are part of it."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(" wonder land \r\nnext\n"))
    assert read_password() == " wonder land "
