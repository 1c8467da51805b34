"""Faults planted in the Lua scripts on purpose: the fuzzer has to find each of them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

from imc_common.scripts import Scripts, lua_folder


class Fault(NamedTuple):
    """In one file of `lua/`, this text is replaced."""

    file: str
    text: str
    by: str


PLANTED = {
    "a ban is ignored by join": Fault(
        "include/join_existing.lua", "elseif is_banned(request.from) then", "elseif false then"
    ),
    "a ban holds at one port only": Fault(
        "include/without_port.lua", 'return (address:gsub(":%d+$", ""))', "return address"
    ),
    "the last owner may leave": Fault(
        "exit_room.lua",
        'local is_last_owner = sender_role == "owner" and #with_role({ owner = true }) == 1',
        "local is_last_owner = false",
    ),
    "a destroyed private room stays in the index": Fault(
        "include/destroy.lua", "indexes[#indexes + 1] = private_rooms_prefix .. member", ""
    ),
    "an invited user may speak": Fault(
        "include/may_speak.lua",
        "local may_speak = is_member",
        "local function may_speak(role) return role end",
    ),
    "an old invitation that fails withdraws a new one": Fault(
        "withdraw_invitation.lua", " and invitation == request.of", ""
    ),
    "a retransmission is accepted again": Fault(
        "accept_many.lua", "if is_duplicate(shard, i) then", "if false then"
    ),
    "a request takes effect before an older one": Fault(
        "include/request.lua",
        "if not first or first[1] ~= entry_id then",
        'first = redis.call("XRANGE", requests, entry_id, entry_id)[1]\nif not first then',
    ),
}


def plant(fault: Fault, folder: Path) -> Scripts:
    """The scripts with this fault, which are written into an empty folder."""
    shutil.copytree(lua_folder(), folder, dirs_exist_ok=True)
    path = folder / fault.file
    source = path.read_text()
    assert source.count(fault.text) == 1, f"{fault.file} has not exactly one {fault.text!r}"
    path.write_text(source.replace(fault.text, fault.by))
    return Scripts(folder)
