"""MI about one user: back, shown, forgotten.

Covers room_records.py and shard_records.py.
"""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from imc_common import keys
from imc_common.client_devices import note
from imc_common.keys import Keys, shard_of
from imc_common.rooms.request import RequestData
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
    shown = {"ROOM": f"sip:{ROOM}", "ROLE": "member", "AWAY": False, "NICK": ""}
    shown["DEVICES"] = [device]
    assert found["ROOMS"] == [shown]
    assert (found["CREATOR_OF"], found["LEFT"]) == ([f"sip:{OTHER}"], [])
    assert found["BANNED_FROM"] == [f"sip:{OTHER}"]
    assert (found["REGISTERED_DEVICES"], found["PASSWORD"]) == ([], False)
    assert (found["FAILED_DELIVERIES"], found["DEAD_LETTERS"]) == ([], [])
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


async def test_all_else_that_redis_holds_is_exported(make_mi: MakeMi) -> None:
    """Devices, failures, dead letters, and that there is a password; the hash of it stays in Redis."""
    mi = make_mi(history_max_messages=500)
    await talk(mi)
    tag, device = keys.user_shard(BOB), f"{BOB};gr=urn:uuid:1"
    said = RequestData("text/plain", b"never handled").pack()
    failure = ("event", "message", "from", BOB, "room", ROOM, "user", ALICE, "status", "403")
    dead = (
        "dead_stream",
        "imc:{0}:in",
        "dead_reason",
        "error",
        "type",
        "message",
        "room",
        ROOM,
        "data",
        said,
    )
    await mi.bench.store.run(
        [
            *note(device),
            ("HSET", keys.users(tag), BOB, "SHA-256=secret"),
            ("XADD", keys.undelivered(SHARD), "5-0", *failure),
            ("XADD", keys.undelivered(SHARD), "6-0", "from", ALICE, "user", "carol@example.org"),
            ("XADD", keys.dead(3), "7-0", *dead, "from", BOB),
            ("XADD", keys.dead(3), "8-0", *dead, "from", ALICE, "to", f"{ALICE} {BOB}"),
            ("XADD", keys.dead(3), "9-0", *dead, "from", ALICE),
        ]
    )
    found = await mi.call("imc_user_export", BOB)
    assert (found["REGISTERED_DEVICES"], found["PASSWORD"]) == ([device], True)
    assert found["FAILED_DELIVERIES"] == [
        {
            "ROOM": f"sip:{ROOM}", "AT": 5, "EVENT": "message", "TO": f"sip:{BOB}",
            "CAUSED_BY": f"sip:{ALICE}", "STATUS": "403",
        }
    ]  # fmt: skip
    assert [(letter["NAME"], letter["BODY"]) for letter in found["DEAD_LETTERS"]] == [
        ("3/7-0", "never handled"),
        ("3/8-0", "never handled"),
    ]
    assert "secret" not in str(found)


async def test_what_names_the_user_elsewhere_is_exported(make_mi: MakeMi) -> None:
    """Whom the user has banned or invited, receipts, and what is still to be told to devices of the user."""
    mi = make_mi(history_max_messages=500)
    await talk(mi)
    device = f"{BOB};gr=urn:uuid:1"
    await mi.bench.store.run(
        [
            (
                "HSET",
                NAMES.room(SHARD, ROOM),
                "inviter:dave@example.org",
                BOB,
                "inviter:eve@example.org",
                ALICE,
            ),
            ("HSET", NAMES.room(SHARD, ROOM), "ban:frank@example.org", BOB, "ban:grace@example.org", ALICE),
            ("HSET", keys.authors(SHARD, ROOM, "recent"), "id 1", BOB, "id 2", ALICE),
            ("HSET", keys.receipts(SHARD, ROOM, "older"), f"id2 {BOB}", 1, f"id1 {ALICE}", 1),
            ("ZADD", keys.roster(shard_of(OTHER, 4), OTHER), 3, BOB),
            ("HSET", keys.farewells(shard_of(OTHER, 4), BOB), f"{OTHER} {device}", "{}"),
        ]
    )
    found = await mi.call("imc_user_export", BOB)
    assert found["INVITED"] == [{"ROOM": f"sip:{ROOM}", "USER": "sip:dave@example.org"}]
    assert found["BANNED"] == [{"ROOM": f"sip:{ROOM}", "USER": "sip:frank@example.org"}]
    assert found["ASKED_FOR_RECEIPTS"] == [{"ROOM": f"sip:{ROOM}", "MESSAGE": "id 1"}]
    assert found["SENT_RECEIPTS"] == [{"ROOM": f"sip:{ROOM}", "MESSAGE": "id2"}]
    assert found["LEFT"] == [f"sip:{OTHER}"]
    assert found["FAREWELLS"] == [{"ROOM": f"sip:{OTHER}", "TO": f"sip:{device}"}]


async def test_a_ban_holds_at_every_port_and_is_exported_so(make_mi: MakeMi) -> None:
    """Two users at one literal address differ in the port only."""
    mi = make_mi(history_max_messages=500)
    await mi.call("imc_create_room", ROOM, ALICE)
    await mi.bench.ask("ban", ALICE, ROOM, user="bob@192.0.2.7:5070")
    await settled(mi)
    found = await mi.call("imc_user_export", "bob@192.0.2.7:5070")
    assert found["BANNED_FROM"] == [f"sip:{ROOM}"]


async def test_nothing_of_a_forgotten_user_is_left(make_mi: MakeMi) -> None:
    """Whatever key it is in, but for the mark that it was forgotten, which has a TTL, and bans."""
    mi = make_mi(history_max_messages=500)
    await talk(mi)
    await mi.bench.ask("ban", ALICE, OTHER, user=BOB)
    device = f"{BOB};gr=urn:uuid:1"
    await mi.bench.ask("enter_conference", BOB, device=device, dialog='{"call_id":"c"}')
    await mi.bench.ask("enter_conference", ALICE, device=f"{ALICE};gr=urn:uuid:2", dialog='{"call_id":"d"}')
    await settled(mi)
    await mi.bench.store.run(
        [
            *note(device),
            ("HSET", keys.authors(SHARD, ROOM, "recent"), "id 1", BOB, "id 2", ALICE),
            ("HSET", keys.authors(SHARD, ROOM, "older"), "id 3", BOB),
            ("HSET", keys.receipts(SHARD, ROOM, "recent"), f"id2 {BOB}", 1, f"id1 {ALICE}", 1),
            (
                "HSET",
                NAMES.room(SHARD, ROOM),
                "inviter:dave@example.org",
                BOB,
                "inviter:eve@example.org",
                ALICE,
                "ban:frank@example.org",
                BOB,
            ),
            ("ZADD", keys.probes(SHARD), 1, BOB),
            ("HSET", keys.probe_waits(SHARD), BOB, 2000),
            ("SADD", keys.away_rooms(SHARD, BOB), ROOM, f"{ROOM} {device}", OTHER),
            ("HSET", keys.farewells(SHARD, BOB), f"{OTHER} {device}", "{}"),
        ]
    )
    await mi.call("imc_user_forget", BOB)
    inviters = [("HGET", NAMES.room(SHARD, ROOM), f"inviter:{who}@example.org") for who in ("dave", "eve")]
    assert await mi.bench.store.run(inviters) == [None, ALICE.encode()]
    bans = await mi.bench.store.run([("HGET", NAMES.room(SHARD, ROOM), "ban:frank@example.org")])
    assert bans == [ROOM.encode()]
    for stream in (keys.events, keys.requests):  # what is delivered or handled is deleted
        await mi.bench.store.run([("DEL", stream(shard)) for shard in range(16)])
    (names,) = await mi.bench.store.run([("KEYS", "*")])
    left = [await _dump(mi, name) for name in names]
    naming = {name for name, text in left if BOB in name or BOB in text}
    marks = {keys.forgotten(shard, BOB) for shard in range(16)}
    assert naming == marks | {NAMES.room(shard_of(OTHER, 4), OTHER)}
    ttls = await mi.bench.store.run([("TTL", name) for name in sorted(marks)])
    assert all(isinstance(ttl, int) and 0 < ttl <= 3600 for ttl in ttls)
    about = await mi.bench.store.run(
        [("HGET", NAMES.room(SHARD, ROOM), field) for field in ("rev", "forgotten")]
    )
    assert about[0] == about[1]  # devices get the whole roster


async def _dump(mi: Mi, key: bytes) -> tuple[str, str]:
    """Name and content of a key; empty if it has expired since."""
    read = {
        b"string": ("GET",), b"hash": ("HGETALL",), b"set": ("SMEMBERS",),
        b"zset": ("ZRANGE",), b"stream": ("XRANGE",), b"none": ("GET",),
    }  # fmt: skip
    (kind,) = await mi.bench.store.run([("TYPE", key)])
    bounds = {b"zset": (0, -1), b"stream": ("-", "+")}.get(kind, ())
    (content,) = await mi.bench.store.run([(*read[kind], key, *bounds)])
    return key.decode(), str(content)


async def test_what_is_in_a_shard_that_a_reshard_has_removed_is_found(mi: Mi) -> None:
    """The BYE that a device has not got is not moved, because its room may be gone."""
    device = f"{BOB};gr=urn:uuid:1"
    await mi.bench.store.run([("HSET", keys.farewells(4095, BOB), f"{OTHER} {device}", "{}")])
    found = await mi.call("imc_user_export", BOB)
    assert found["FAREWELLS"] == [{"ROOM": f"sip:{OTHER}", "TO": f"sip:{device}"}]
    await mi.call("imc_user_forget", BOB)
    assert await mi.bench.store.run([("EXISTS", keys.farewells(4095, BOB))]) == [0]


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


async def test_the_only_owner_who_is_away_still_gets_what_is_missed(make_mi: MakeMi) -> None:
    """A user who is kept in a room is found there when it is back: by a REGISTER, and by probes."""
    mi = make_mi(history_max_messages=500)
    await mi.call("imc_create_room", ROOM, ALICE)
    await mi.call("imc_add_member", ROOM, BOB)
    away = (
        ("SADD", keys.away_shards(ALICE), SHARD),
        ("HSET", NAMES.members(SHARD, ROOM), ALICE, "owner away"),
        ("HSET", NAMES.room(SHARD, ROOM), f"away:{ALICE}", "1-1"),
        ("SADD", keys.away_rooms(SHARD, ALICE), ROOM),
    )
    await mi.bench.store.run(list(away))
    assert (await mi.call("imc_user_forget", ALICE))["KEPT"] == [f"sip:{ROOM}"]
    assert await mi.call("imc_user_online", ALICE) == {"SHARDS": 1}
    await settled(mi)
    assert (await mi.bench.events())[-1] == ("catch_up", ALICE)
