"""What a room keeps of a user beyond the role: fields KIND:USER of its hash."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.lua.cases import INVITATION, ROOM_CASES, Case, settled_room
from tests.lua.header import FOLDER
from tests.lua.shard import ALICE, BOB, CAROL, DAVE, OUT, ROOM, SHARD, Shard, decoded

(_LISTED,) = re.findall(
    r"^local ENDS_WITH_MEMBERSHIP = \{\n(.*?)\n\}$",
    (FOLDER / "include/member_state.lua").read_text(),
    re.MULTILINE,
)
ENDS_WITH_MEMBERSHIP = re.findall(r'"(\w+)"', _LISTED)
UNKNOWN = {f"mood:{user}": f"the mood of {user}" for user in (ALICE, BOB, CAROL, DAVE)} | {"motto": "a motto"}
"""State of kinds that no script knows, as a later version may have it."""


def about(shard: Shard) -> dict[str, str]:
    found: dict[str, str] = decoded(shard.redis.hgetall(shard.keys.room(SHARD, ROOM)))
    return found


@pytest.mark.parametrize("case", ROOM_CASES.values(), ids=ROOM_CASES.keys())
def test_state_of_a_new_kind_needs_no_change_of_any_script(shard: Shard, case: Case) -> None:
    """Scripts leave unknown state alone; the end of the room deletes it."""
    command = case.prepare(shard)
    shard.redis.hset(shard.keys.room(SHARD, ROOM), mapping=UNKNOWN)  # type: ignore[arg-type]
    assert shard.run(case.script, *command) == "done"
    if shard.exists():
        assert {name: text for name, text in about(shard).items() if name in UNKNOWN} == UNKNOWN
    else:
        assert about(shard) == {}


def test_an_import_keeps_all_state_of_a_room(shard: Shard) -> None:
    settled_room(shard)
    shard.redis.hset(shard.keys.room(SHARD, ROOM), mapping=UNKNOWN)  # type: ignore[arg-type]
    before = about(shard)
    where = [shard.keys.rooms(SHARD), shard.keys.room(SHARD, ROOM), shard.keys.members(SHARD, ROOM), OUT]
    args = [ROOM, "1", ALICE, "1", "private:", "owned:", "new@example.org", "member"]
    assert shard.run("import_room", where, args) == "completed"
    after = about(shard)
    assert after.pop("joined:new@example.org")
    assert after == before


WAYS_OUT: dict[str, tuple[str, Callable[[Shard], object]]] = {
    "exit": (CAROL, lambda shard: shard.ask("exit", CAROL)),
    "remove": (CAROL, lambda shard: shard.ask("remove", ALICE, user=CAROL)),
    "away for too long": (CAROL, lambda shard: shard.time_out(CAROL)),
    "deny": (DAVE, lambda shard: shard.ask("deny", DAVE)),
    "exit of the invited": (DAVE, lambda shard: shard.ask("exit", DAVE)),
    "invitation removed": (DAVE, lambda shard: shard.ask("remove", ALICE, user=DAVE)),
    "invitation failed": (
        DAVE,
        lambda shard: shard.report("withdraw_invitation", "invited", DAVE, "404", of=INVITATION, user=ALICE),
    ),
}


@pytest.mark.parametrize(("user", "leave"), WAYS_OUT.values(), ids=WAYS_OUT.keys())
def test_state_of_a_membership_ends_with_it(
    shard: Shard, user: str, leave: Callable[[Shard], object]
) -> None:
    """Whichever way. State of other users and of other kinds stays."""
    settled_room(shard)
    others = {f"{kind}:{BOB}": "1 1" for kind in ENDS_WITH_MEMBERSHIP}
    mine = {f"{kind}:{user}": "1 1" for kind in ENDS_WITH_MEMBERSHIP if kind != "invitation"}
    shard.redis.hset(shard.keys.room(SHARD, ROOM), mapping=others | mine | UNKNOWN)  # type: ignore[arg-type]
    leave(shard)
    assert user not in shard.members()
    left = {name: text for name, text in about(shard).items() if ":" in name and name.endswith((user, BOB))}
    assert left == others | {f"mood:{one}": UNKNOWN[f"mood:{one}"] for one in (user, BOB)}
