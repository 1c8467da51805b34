"""The list of roles, and where else roles are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from imc_common.rooms import texts
from imc_common.rooms.roles import AWAY, CHOICE, CLIENTS, IN_CHARGE, INVITED, RANKS, ROLES, is_away, role_of

ROOT = Path(__file__).parents[3]


def test_the_invited_come_after_all_members() -> None:
    """Lists are sorted by rank, highest role first."""
    assert sorted(RANKS, key=RANKS.__getitem__) == [*ROLES, INVITED]
    assert set(IN_CHARGE) < set(ROLES)


def test_every_role_has_a_name_in_notices() -> None:
    """As in "alice has made bob an admin"."""
    assert list(texts._ROLES) == list(ROLES)


def test_the_documentation_names_all_roles() -> None:
    """The page of commands where a role is given, the page of keys where one is stored."""
    quoted = CHOICE
    for role in ROLES:
        quoted = quoted.replace(role, f"`{role}`")
    assert quoted in (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    stored = ", ".join(f"`{role}`" for role in ROLES) + f" or `{INVITED}`"
    assert stored in (ROOT / "docs" / "redis.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("client", ["", *[f" {client}" for client in CLIENTS]])
def test_a_member_keeps_the_role_whatever_is_known_besides(client: str) -> None:
    """Whether the member is away, and the kind of client."""
    for role in ROLES:
        here, away = (role + client).encode(), (role + client + AWAY).encode()
        assert (role_of(here), is_away(here)) == (role, False)
        assert (role_of(away), is_away(away)) == (role, True)
    assert (role_of(INVITED.encode()), is_away(INVITED.encode())) == (INVITED, False)
