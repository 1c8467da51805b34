"""Every MI command: its result, its effect, its errors.

Covers operate.py and rooms.py.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from structlog.testing import capture_logs

from imc_common import keys
from imc_common.keys import Keys, shard_of
from imc_worker.mi import operate, rooms
from imc_worker.mi.jsonrpc import MiError
from tests.imc_worker.conftest import ALICE, BOB, CAROL, ROOM
from tests.imc_worker.mi.conftest import MakeMi, Mi

ROOM_URI = f"sip:{ROOM}"


async def fails(mi: Mi, name: str, *params: Any, **named: Any) -> int:
    """The code of the error that a command ends in."""
    with pytest.raises(MiError) as caught:
        await mi.call(name, *params, **named)
    return caught.value.code


async def test_rooms_are_listed_as_opensips_and_kamailio_list_them(mi: Mi) -> None:
    """In a fixed order; invited users are not counted."""
    await mi.call("imc_create_room", ROOM_URI, ALICE)
    await mi.call("imc_create_room", "another@example.org", BOB, "1")
    await mi.call("imc_add_member", ROOM_URI, BOB)
    await mi.bench.ask("invite", ALICE, user=CAROL)
    while await mi.bench.left():
        await asyncio.sleep(0.005)
    listed = {
        "ROOMS": [
            {"URI": "sip:another@example.org", "MEMBERS": 1, "OWNER": f"sip:{BOB}"},
            {"URI": ROOM_URI, "MEMBERS": 2, "OWNER": f"sip:{ALICE}"},
        ]
    }
    assert await mi.call("imc_list_rooms") == await mi.call("imc:list_rooms") == listed
    assert await mi.call("imc.list_rooms") == [
        {"room": "sip:another@example.org", "members": 1, "owner": f"sip:{BOB}"},
        {"room": ROOM_URI, "members": 2, "owner": f"sip:{ALICE}"},
    ]


async def test_members_are_listed_as_opensips_and_kamailio_list_them(mi: Mi) -> None:
    """By role, then address; parameters in order or by name."""
    await mi.call("imc_create_room", ROOM_URI, CAROL)
    for user in (BOB, ALICE):
        await mi.call("imc_add_member", ROOM_URI, user)
    members = [f"sip:{CAROL}", f"sip:{ALICE}", f"sip:{BOB}"]
    listed = {"ROOM": ROOM_URI, "MEMBERS": members, "NO_MEMBERS": 3}
    assert await mi.call("imc_list_members", ROOM_URI) == listed
    assert await mi.call("imc:list_members", room=ROOM) == listed
    assert await mi.call("imc.list_members", ROOM) == {"room": ROOM_URI, "members": members, "count": 3}


async def test_letter_case_makes_no_difference_if_users_are_not_case_sensitive(make_mi: MakeMi) -> None:
    """In rooms and users, of every command that names one."""
    mi = make_mi(case_sensitive_users=False)
    room, alice, bob = ROOM_URI.upper().replace("SIP:", "sip:"), ALICE.upper(), BOB.upper()
    await mi.call("imc_create_room", room, alice)
    await mi.call("imc_add_member", ROOM_URI, BOB)
    assert await fails(mi, "imc_add_member", room, bob) == 409
    await mi.call("imc_set_role", room, bob, "admin")
    assert (await mi.call("imc_list_members", room))["MEMBERS"] == [f"sip:{ALICE}", f"sip:{BOB}"]
    await mi.call("imc_remove_member", room, BOB.title())
    assert (await mi.call("imc_kick", alice))["KEPT"] == [ROOM_URI]
    await mi.call("imc_destroy_room", room)
    assert await mi.call("imc_list_rooms") == {"ROOMS": []}


async def test_letter_case_makes_a_difference_by_default(mi: Mi) -> None:
    """RFC 3261: two users, two rooms."""
    await mi.call("imc_create_room", ROOM, ALICE)
    await mi.call("imc_add_member", ROOM, ALICE.capitalize())
    assert (await mi.call("imc_list_members", ROOM))["NO_MEMBERS"] == 2
    assert await fails(mi, "imc_list_members", ROOM.capitalize()) == 404


async def test_a_room_is_shown_with_all_its_roles(mi: Mi) -> None:
    """Invited users too."""
    await mi.call("imc_create_room", ROOM, ALICE, "private")
    await mi.bench.ask("invite", ALICE, user=BOB)
    while await mi.bench.left():
        await asyncio.sleep(0.005)
    shown = await mi.call("imc_show_room", ROOM)
    assert abs(shown.pop("CREATED_AT") / 1000 - time.time()) < 3600
    assert shown == {
        "ROOM": ROOM_URI,
        "PRIVATE": True,
        "MEMBERS": [{"URI": f"sip:{ALICE}", "ROLE": "owner"}, {"URI": f"sip:{BOB}", "ROLE": "invited"}],
    }


@pytest.mark.parametrize(
    ("room", "opensips", "kamailio"),
    [("nowhere@example.org", 404, "Room not found"), ("", 400, "Empty room name"), ("x", 400, "Invalid")],
)
async def test_a_room_that_does_not_exist_is_404(mi: Mi, room: str, opensips: int, kamailio: str) -> None:
    """An invalid address is 400; Kamailio's commands say 500 and why."""
    assert await fails(mi, "imc_list_members", room) == opensips
    with pytest.raises(MiError, match=f"500 .*{kamailio}"):
        await mi.call("imc.list_members", room)


async def test_kamailios_commands_need_a_room_name(mi: Mi) -> None:
    """With an error of their own."""
    with pytest.raises(MiError, match="500 No room name"):
        await mi.call("imc.list_members")


@pytest.mark.parametrize("asked", [["imc:active_rooms"], ["active_rooms"], ["imc:", "tm:"], ["all"]])
async def test_statistics(mi: Mi, asked: list[str]) -> None:
    """By either name of the command, as list or as text."""
    await mi.call("imc_create_room", ROOM, ALICE)
    assert await mi.call("get_statistics", asked) == {"imc:active_rooms": 1}
    assert await mi.call("statistics:get", statistics=" ".join(asked)) == {"imc:active_rooms": 1}
    assert await fails(mi, "get_statistics", ["tm:"]) == 404


async def test_which_lists_commands_and_their_parameters(mi: Mi) -> None:
    """As opensips-cli asks for completion."""
    assert {"imc_list_rooms", "imc:kick", "imc.list_members"} <= set(await mi.call("which"))
    assert await mi.call("which", "imc_create_room") == [["room", "owner"], ["room", "owner", "private"]]
    assert await fails(mi, "which", "reboot") == 404


@pytest.mark.parametrize(
    ("name", "params", "code"),
    [
        ("reboot", [], -32601),
        ("imc_list_rooms", ["x"], -32602),
        ("imc_list_members", [], -32602),
        ("imc_list_members", {"rom": "x"}, -32602),
        ("imc_list_members", [["x"]], -32602),
        ("get_statistics", [[1]], -32602),
    ],
)
async def test_wrong_calls_are_errors_of_json_rpc(mi: Mi, name: str, params: Any, code: int) -> None:
    """JSON-RPC 2.0 §5.1."""
    with pytest.raises(MiError) as caught:
        await mi.commands.call(name, params, "test")
    assert caught.value.code == code


async def test_an_operator_changes_a_room_and_members_are_told(mi: Mi) -> None:
    """By the same events as for chat commands, in the name of the command address."""
    shown = await mi.call("imc_create_room", ROOM, ALICE, 1)
    assert shown["PRIVATE"] is True
    assert await mi.call("imc_add_member", ROOM, BOB) == "OK"
    assert await mi.call("imc_set_role", ROOM, BOB, "admin") == "OK"
    assert await mi.call("imc_set_role", ROOM, BOB, "admin") == "OK"
    assert await mi.call("imc_notice", "back at 8", ROOM) == {"ROOMS_TOLD": 1}
    assert await mi.call("imc_remove_member", ROOM, BOB) == "OK"
    assert await mi.call("imc_destroy_room", ROOM) == "OK"
    events = await mi.bench.stream(keys.events(shard_of(ROOM, 4)))
    assert [event["event"] for event in events] == [
        *("created", "added", "added", "role_changed", "role_changed", "notice"),
        *("you_were_removed", "removed", "destroyed"),
    ]
    assert {event["from"] for event in events[1:]} == {"chat-manager@example.org"}
    assert await fails(mi, "imc_show_room", ROOM) == 404


async def test_impossible_changes_are_refused_without_a_request(mi: Mi) -> None:
    """So no member is told."""
    await mi.call("imc_create_room", ROOM, ALICE)
    before = await mi.bench.events()
    assert await fails(mi, "imc_create_room", ROOM, BOB) == 409
    assert await fails(mi, "imc_create_room", "chat-manager@example.org", BOB) == 400
    assert await fails(mi, "imc_create_room", BOB, BOB) == 400
    assert await fails(mi, "imc_create_room", "new@example.org", BOB, "maybe") == 400
    assert await fails(mi, "imc_add_member", ROOM, ALICE) == 409
    assert await fails(mi, "imc_add_member", ROOM, ROOM) == 400
    assert await fails(mi, "imc_remove_member", ROOM, BOB) == 404
    assert await fails(mi, "imc_remove_member", ROOM, ALICE) == 409
    assert await fails(mi, "imc_set_role", ROOM, BOB, "admin") == 404
    assert await fails(mi, "imc_set_role", ROOM, ALICE, "king") == 400
    assert await fails(mi, "imc_set_role", ROOM, ALICE, "admin") == 409
    assert await fails(mi, "imc_notice", "a\nb") == 400
    assert await fails(mi, "imc_destroy_room", "nowhere@example.org") == 404
    assert await mi.bench.events() == before


async def test_limits_hold_for_operators_too(make_mi: MakeMi) -> None:
    """403; nobody gets a notice."""
    mi = make_mi(max_members=1, max_rooms_per_owner=1)
    await mi.call("imc_create_room", ROOM, ALICE)
    before = await mi.bench.events()
    assert await fails(mi, "imc_add_member", ROOM, BOB) == 403
    assert await fails(mi, "imc_create_room", "second@example.org", ALICE) == 403
    assert await mi.bench.events() == before


async def test_rooms_follow_the_settings(make_mi: MakeMi) -> None:
    """`domains` and `room_pattern`."""
    mi = make_mi(domains=["example.org"], room_pattern="chat-[0-9]+")
    assert await fails(mi, "imc_create_room", "chat-1@elsewhere.org", ALICE) == 400
    assert await fails(mi, "imc_create_room", "lounge@example.org", ALICE) == 400
    await mi.call("imc_create_room", "chat-1@example.org", ALICE)


async def test_kick_removes_a_user_from_every_room(mi: Mi) -> None:
    """Also one of several owners; rooms where the user is the last owner are kept and reported."""
    for number in range(3):
        await mi.call("imc_create_room", f"r{number}@example.org", ALICE)
        await mi.call("imc_add_member", f"r{number}@example.org", BOB)
    await mi.call("imc_set_role", "r1@example.org", BOB, "owner")
    await mi.call("imc_create_room", "own@example.org", BOB)
    await mi.call("imc_create_room", "not-his@example.org", CAROL)
    assert await mi.call("imc_kick", BOB) == {
        "USER": f"sip:{BOB}",
        "LEFT": [f"sip:r{number}@example.org" for number in range(3)],
        "KEPT": ["sip:own@example.org"],
    }
    for number in range(3):
        listed = await mi.call("imc_list_members", f"r{number}@example.org")
        assert listed["MEMBERS"] == [f"sip:{ALICE}"]


async def test_a_notice_goes_to_all_rooms(mi: Mi) -> None:
    """If no room is named."""
    for number in range(3):
        await mi.call("imc_create_room", f"r{number}@example.org", ALICE)
    assert await mi.call("imc_notice", "Grüße") == {"ROOMS_TOLD": 3}


async def test_the_owner_shown_is_an_owner(mi: Mi) -> None:
    """The creator, as long as the creator is one."""
    await mi.call("imc_create_room", ROOM, BOB)
    await mi.call("imc_add_member", ROOM, ALICE)
    await mi.call("imc_set_role", ROOM, ALICE, "owner")
    assert (await mi.call("imc_list_rooms"))["ROOMS"][0]["OWNER"] == f"sip:{BOB}"
    await mi.call("imc_set_role", ROOM, BOB, "member")
    assert (await mi.call("imc_list_rooms"))["ROOMS"][0]["OWNER"] == f"sip:{ALICE}"


async def test_every_change_is_logged(mi: Mi) -> None:
    """Who, what, and the result; queries are not."""
    with capture_logs() as lines:
        await mi.call("imc_create_room", ROOM, ALICE)
        await fails(mi, "imc_create_room", ROOM, ALICE)
        await mi.call("imc_list_rooms")
    audit = [line for line in lines if line["event"] == "operator command"]
    assert [(line["command"], line["by"], line["outcome"]) for line in audit] == [
        ("imc_create_room", "test", "done"),
        ("imc_create_room", "test", "409 room exists"),
    ]
    assert ALICE in audit[0]["params"]
    assert audit[0]["audit"] is True


async def test_a_change_without_a_worker_is_504(monkeypatch: pytest.MonkeyPatch) -> None:
    """The request waits in the stream."""
    monkeypatch.setattr(operate, "WAIT_SECONDS", 0.01)
    mi = Mi()
    assert await fails(mi, "imc_create_room", ROOM, ALICE) == 504
    assert await mi.bench.left() == 1
    await mi.close()


async def test_a_call_without_redis_is_503() -> None:
    """Changes and queries."""
    mi = Mi()
    mi.bench.store.unreachable = True
    assert await fails(mi, "imc_list_rooms") == 503
    assert await fails(mi, "imc_kick", BOB) == 503
    await mi.close()


async def test_a_key_of_a_wrong_type_is_503() -> None:
    """With Redis's message."""
    mi, shard = Mi(), shard_of(ROOM, 4)
    await mi.bench.store.run([("SET", Keys().rooms(shard), "x")])
    assert await fails(mi, "imc_list_rooms") == 503
    await mi.bench.store.run([("DEL", Keys().rooms(shard)), ("SET", keys.requests(shard), "x")])
    assert await fails(mi, "imc_create_room", ROOM, ALICE) == 503
    await mi.close()


async def test_lists_are_read_in_pages(mi: Mi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither many rooms nor a large one make a long pipeline."""
    monkeypatch.setattr(rooms, "PAGE", 10)
    monkeypatch.setattr(rooms, "FIELDS", 40)
    names, shard = Keys(), shard_of(ROOM, 4)
    commands: list[Any] = []
    for number in range(50):
        room = f"r{number}@example.org"
        commands.append(("ZADD", names.rooms(shard), 0, room))
        commands.append(("HSET", names.room(shard, room), "private", "0", "owner", "u0@h"))
        members = [part for each in range(number * 10) for part in (f"u{each}@h", "member")]
        commands.append(("HSET", names.members(shard, room), "u0@h", "owner", *members))
    commands.append(("ZADD", names.rooms(shard), 0, "gone@example.org"))
    await mi.bench.store.run(commands)
    mi.bench.store.ran.clear()
    listed = (await mi.call("imc_list_rooms"))["ROOMS"]
    assert sorted(room["MEMBERS"] for room in listed) == [max(1, number * 10) for number in range(50)]
    ran = [run for run in mi.bench.store.ran if run and run[0][0] in {"HGETALL", "HMGET", "HSCAN"}]
    assert max(map(len, ran)) <= 40


@pytest.mark.parametrize("text", ["\ud800", "chat\udfff@example.org", "sip:a@\ud800", "\udc80@example.org"])
async def test_half_of_a_character_is_a_clear_error_of_every_command(mi: Mi, text: str) -> None:
    """JSON can write it (RFC 8259 §8.2); Redis and SIP cannot. No traceback, and nothing has changed."""
    with capture_logs() as lines:
        for name, command in mi.commands.table.items():
            for param in command.params:
                params = dict.fromkeys(command.params, "x@example.org") | {param: text}
                if name in {"get_statistics", "statistics:get", "which"}:
                    continue
                with pytest.raises(MiError) as caught:
                    await mi.call(name, **params)
                assert (caught.value.code, caught.value.data.partition(" ")[0]) == (-32602, param)
    assert [line for line in lines if line["log_level"] not in {"info", "debug"}] == []
    assert await mi.call("imc_list_rooms") == {"ROOMS": []}
