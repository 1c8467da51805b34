"""MI about one user: back, shown, forgotten."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from imc_common import keys
from imc_common.keys import Keys, shard_of
from tests.imc_worker.conftest import ALICE, BOB, ROOM
from tests.imc_worker.mi.conftest import MakeMi, Mi

SHARD, NAMES = shard_of(ROOM, 4), Keys()
OTHER = "other@example.org"


async def talk(mi: Mi) -> None:
    """Alice and Bob have talked in one room; Bob has left another, which he had created."""
    await mi.call("imc_create_room", ROOM, ALICE)
    await mi.call("imc_add_member", ROOM, BOB)
    await mi.call("imc_create_room", OTHER, BOB)
    await mi.call("imc_add_member", OTHER, ALICE)
    await mi.call("imc_set_role", OTHER, ALICE, "owner")
    for sender, room in ((ALICE, ROOM), (BOB, ROOM), (BOB, OTHER)):
        await mi.bench.ask("message", sender, room)
        await settled(mi)
    await mi.call("imc_set_role", OTHER, BOB, "member")
    await mi.call("imc_remove_member", OTHER, BOB)


async def settled(mi: Mi) -> None:
    while await mi.bench.left() or await mi.bench.left(OTHER):
        await asyncio.sleep(0.005)


async def authors(mi: Mi, room: str) -> list[str]:
    """Who has written what this room keeps."""
    (entries,) = await mi.bench.store.run([("XRANGE", NAMES.history(shard_of(room, 4), room), "-", "+")])
    return [fields[0].decode() for _, fields in entries]


async def test_a_user_is_exported(make_mi: MakeMi) -> None:
    """Memberships, bans, and messages, also those in rooms that the user has left."""
    mi = make_mi(history_max_messages=500)
    await talk(mi)
    await mi.bench.ask("ban", ALICE, OTHER, user=BOB)
    device = f"{BOB};gr=urn:uuid:1"
    await mi.bench.ask("enter_conference", BOB, device=device, dialog='{"call_id":"c"}')
    await settled(mi)
    with capture_logs() as logs:
        found = await mi.call("imc_user_export", f"sip:{BOB}")
    assert found["USER"] == f"sip:{BOB}"
    shown = {"ROOM": f"sip:{ROOM}", "ROLE": "member", "AWAY": False, "NICK": "", "CREATOR": False}
    shown["DEVICES"] = [device]
    assert found["ROOMS"] == [shown]
    assert found["BANNED_FROM"] == [f"sip:{OTHER}"]
    messages = sorted((each["ROOM"], each["CONTENT_TYPE"], each["BODY"]) for each in found["MESSAGES"])
    assert messages == [(f"sip:{ROOM}", "text/plain", "hi"), (f"sip:{OTHER}", "text/plain", "hi")]
    assert any(line.get("audit") and line["command"] == "imc_user_export" for line in logs)


async def test_a_user_is_forgotten(make_mi: MakeMi) -> None:
    """Membership, messages, records of failures, and the name of the creator; what others wrote stays."""
    mi = make_mi(history_max_messages=500)
    await talk(mi)
    stream = keys.undelivered(SHARD)
    await mi.bench.store.run(
        [
            ("XADD", stream, "*", "from", BOB, "user", ALICE),
            ("XADD", stream, "*", "from", f"{BOB};gr=urn:uuid:1", "user", ALICE),
            ("XADD", stream, "*", "from", ALICE, "user", "carol@example.org"),
            ("SADD", keys.away_shards(BOB), SHARD),
        ]
    )
    assert await mi.call("imc_user_forget", BOB) == {
        "USER": f"sip:{BOB}", "LEFT": [f"sip:{ROOM}"], "KEPT": [], "MESSAGES_DELETED": 2,
    }  # fmt: skip
    assert (await authors(mi, ROOM), await authors(mi, OTHER)) == ([ALICE], [])
    left, creator, hint = await mi.bench.store.run(
        [
            ("XLEN", stream),
            ("HGET", NAMES.room(shard_of(OTHER, 4), OTHER), "owner"),
            ("EXISTS", keys.away_shards(BOB)),
        ]
    )
    assert (left, creator, hint) == (1, ALICE.encode(), 0)


async def test_the_only_owner_of_a_room_is_kept_there(mi: Mi) -> None:
    """As by imc_kick; the operator destroys the room first, or gives it another owner."""
    await mi.call("imc_create_room", ROOM, ALICE)
    assert (await mi.call("imc_user_forget", ALICE))["KEPT"] == [f"sip:{ROOM}"]


async def test_a_user_is_back(make_mi: MakeMi) -> None:
    """In the shards where it was away; elsewhere nothing happens."""
    mi = make_mi(history_max_messages=500)
    await talk(mi)
    assert await mi.call("imc_user_online", BOB) == {"SHARDS": 0}
    await mi.bench.store.run(
        [
            ("SADD", keys.away_shards(BOB), SHARD),
            ("HSET", NAMES.members(SHARD, ROOM), BOB, "member away"),
            ("HSET", NAMES.room(SHARD, ROOM), f"away:{BOB}", "1-1"),
            ("SADD", keys.away_rooms(SHARD, BOB), ROOM),
        ]
    )
    assert await mi.call("imc_user_online", BOB) == {"SHARDS": 1}
    await settled(mi)
    assert (await mi.bench.events())[-1] == ("catch_up", BOB)
