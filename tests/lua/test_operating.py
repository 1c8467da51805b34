"""Requests of an operator (MI): the same scripts, without a role and without notices of refusal."""

import pytest

from tests.lua.shard import ALICE, BOB, CAROL, DAVE, ROOM, Shard, heard, told_all

OPERATOR = "chat-manager@example.org"


@pytest.fixture(params=["public", "private"])
def room(request: pytest.FixtureRequest, shard: Shard) -> Shard:
    """Alice owns the room, Bob is admin, Carol member, Dave invited."""
    shard.ask("create", ALICE, **({"private": "1"} if request.param == "private" else {}))
    shard.ask("add", ALICE, user=BOB)
    shard.ask("modify", ALICE, user=BOB, role="admin")
    shard.ask("add", ALICE, user=CAROL)
    shard.ask("invite", ALICE, user=DAVE)
    return shard


def test_an_operator_adds_changes_roles_and_removes(room: Shard) -> None:
    """Members are told as usual."""
    everybody = (ALICE, BOB, CAROL, DAVE)
    assert room.ask("add", OPERATOR, user=DAVE, operator="1") == told_all(
        "added", *everybody, by=OPERATOR, user=DAVE
    )
    assert room.ask("modify", OPERATOR, user=DAVE, role="owner", operator="1") == told_all(
        "role_changed", *everybody, by=OPERATOR, user=DAVE, role="owner"
    )
    events = room.ask("remove", OPERATOR, user=BOB, operator="1")
    assert events[0] == heard("you_were_removed", BOB, by=OPERATOR, user=BOB, role="admin")
    assert room.members() == {ALICE: "owner", CAROL: "member", DAVE: "owner"}


def test_an_operator_destroys_a_room(room: Shard) -> None:
    """Nothing is left."""
    assert room.ask("destroy", OPERATOR, operator="1") == told_all(
        "destroyed", ALICE, BOB, CAROL, by=OPERATOR
    )
    assert not room.exists()


def test_a_message_of_an_operator_is_a_notice(room: Shard) -> None:
    """To all members, never to the invited."""
    assert room.ask("message", OPERATOR, operator="1") == [heard("notice", ALICE, BOB, CAROL, by=OPERATOR)]


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("remove", {"user": ALICE}),
        ("modify", {"user": ALICE, "role": "member"}),
        ("modify", {"user": BOB, "role": "king"}),
        ("add", {"user": BOB}),
        ("add", {"user": ROOM}),
    ],
)
def test_a_refusal_changes_nothing_and_is_no_event(room: Shard, kind: str, fields: dict[str, str]) -> None:
    """The operator's address may belong to nobody; MI reports the refusal."""
    before = room.members()
    assert room.ask(kind, OPERATOR, operator="1", **fields) == []
    assert room.members() == before


@pytest.mark.parametrize("kind", ["add", "remove", "modify", "destroy", "message"])
def test_an_operators_request_about_no_room_changes_nothing(shard: Shard, kind: str) -> None:
    """There is no event."""
    assert shard.ask(kind, OPERATOR, operator="1", user=BOB, role="admin") == []
    assert not shard.exists()
