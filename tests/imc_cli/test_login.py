"""Passwords at the command line, and what a terminal's user answers challenges with."""

from __future__ import annotations

import getpass
import io
import sys
from collections.abc import Callable

import pytest

from imc_cli.login import Login
from imc_cli.password import PasswordError, read_password
from imc_common.sip.auth import Authorization, Challenge
from imc_common.sip.digest import digest, is_right

URI = "sip:chat-000@example.org"


def given(login: Login) -> Authorization:
    (line,) = login.headers("MESSAGE", URI)
    return Authorization.parse(line.removeprefix("Authorization: "))


def test_nothing_is_said_before_the_first_challenge() -> None:
    """And nothing after one that cannot be answered."""
    login = Login("alice", "secret")
    assert login.headers("MESSAGE", URI) == []
    assert not login.challenged([])
    assert not login.challenged(["Basic realm=x", str(Challenge("r", "n", "SHA-1", qop=True)), "Digest"])
    assert login.headers("MESSAGE", URI) == []


def test_the_strongest_challenge_is_answered_and_counted() -> None:
    """Later requests use the same nonce with the next count, until another challenge comes."""
    login = Login("alice", "secret")
    assert login.challenged([str(Challenge("r", "n", each, qop=True)) for each in ("MD5", "SHA-256")])
    answers = [given(login) for _ in range(2)]
    assert [(answer.algorithm, answer.count) for answer in answers] == [
        ("SHA-256", "00000001"),
        ("SHA-256", "00000002"),
    ]
    assert all(is_right(answer, digest("SHA-256", "alice:r:secret"), "MESSAGE") for answer in answers)
    assert login.challenged([str(Challenge("r", "n2", "MD5", qop=True, stale=True))])
    assert (given(login).nonce, given(login).count) == ("n2", "00000002")


class Keyboard(io.StringIO):
    """Standard input at a terminal."""

    def isatty(self) -> bool:
        return True


def typed(monkeypatch: pytest.MonkeyPatch, *words: str) -> Callable[[], str]:
    answers = iter(words)
    monkeypatch.setattr(sys, "stdin", Keyboard())
    monkeypatch.setattr(getpass, "getpass", lambda _prompt: next(answers))
    return lambda: read_password(twice=True)


def test_a_new_password_is_typed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slip of the finger would shut its user out."""
    assert typed(monkeypatch, "secret", "secret")() == "secret"
    with pytest.raises(PasswordError, match="two different passwords"):
        typed(monkeypatch, "secret", "secrte")()


@pytest.mark.parametrize("text", ["", "\n", "a\x1bb\n", "x" * 257, "tab\there\n"])
def test_what_is_no_password_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Nothing, what cannot be typed again, or no end of it."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    with pytest.raises(PasswordError):
        read_password()


def test_a_password_is_one_line_of_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """For scripts; blanks in it count."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(" wonder land \r\nnext\n"))
    assert read_password() == " wonder land "
