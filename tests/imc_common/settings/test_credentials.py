"""The setting `credentials`: its syntax, and that its passwords are not shown."""

from __future__ import annotations

import pytest

from imc_common.settings import Loaded, SettingsError, load
from imc_common.settings.toml import effective


def loaded(text: str) -> Loaded:
    """Settings with these credentials in the environment."""
    return load(None, {"IMC_CREDENTIALS": text}, {})


def test_user_password_and_realm_are_parsed() -> None:
    """A password may contain a colon and an @. Each credential is a line."""
    credentials = loaded("alice:p:a@ss@example.org\nbob:x@My Realm").settings.credentials
    assert [tuple(each) for each in credentials] == [
        ("example.org", "alice", "p:a@ss"),
        ("My Realm", "bob", "x"),
    ]


@pytest.mark.parametrize("text", ["alice@example.org", "alice:secret", ":secret@example.org", "a:secret@"])
def test_an_invalid_credential_is_refused_without_showing_it(text: str) -> None:
    """The text may contain a password."""
    with pytest.raises(SettingsError) as caught:
        loaded(text)
    assert "secret" not in str(caught.value)


def test_passwords_are_not_shown() -> None:
    """Neither by `imc check` nor in a traceback."""
    settings = loaded("alice:secret@example.org")
    assert "secret" not in effective(settings)
    assert "secret" not in repr(settings.settings)
    assert "alice:***@example.org" in effective(settings)
