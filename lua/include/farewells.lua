-- BYE requests and notices of a removal that found nobody: a hash for each user of a shard, "ROOM DEVICE" to the dialog that
-- has to end, or "ROOM USER" to "notice". The room may be gone by now, so its own hash is no place for them. While one is
-- sent, only its event exists. Needs events, and for farewells_due and say_farewell request, emit and room_prefix. Gives
-- farewells_key, farewells_due, farewells_in, keep_farewell, drop_farewell, say_farewell.
-- Events of this include: `bye` to the device; dialog: the one to end; or `you_were_dropped` to the user
-- Both have catch_up: probe, if they are to find out who is back.
--- @include "device_name"

-- A device that is back later learns it when it asks for its rosters.
local FAREWELLS_TTL_MS, MAX_FAREWELLS = 30 * 24 * 3600 * 1000, 100

local function farewells_key(user)
    return "imc:" .. events:match("{%d+}") .. ":farewells:" .. user
end

-- Room, device or user, and dialog of each.
local function farewells_of(user)
    local found, all = {}, redis.call("HGETALL", farewells_key(user))
    for i = 1, #all, 2 do
        local address, device = all[i]:match("^(%S+) (%S+)$")
        found[#found + 1] = { address = address, device = device, dialog = all[i + 1] }
    end
    return found
end

-- Those that can be said now, and whether there are any at all. A device that has lost its session (unknown_dialog) is told by an
-- INVITE and a BYE, for which its user must not be a member.
local function farewells_due(user)
    local due, all = {}, farewells_of(user)
    for _, each in ipairs(all) do
        local is_lost = each.dialog:find('"call_id":"gone-', 1, true)
        if not (is_lost and redis.call("HEXISTS", room_prefix .. each.address, "joined:" .. user) == 1) then
            due[#due + 1] = each
        end
    end
    return due, #all > 0
end

-- Of those, the ones of devices in the room with this address; `who` is the user, or one device. May be called after commit: a
-- key of a wrong type has none.
local function farewells_in(address, who)
    local user, found = user_of(who), {}
    if type(redis.pcall("HLEN", farewells_key(user))) == "number" then
        for _, each in ipairs(farewells_of(user)) do
            local is_meant = who == user or without_aor(each.device) == who
            found[#found + 1] = each.address == address and is_device(each.device) and is_meant and each or nil
        end
    end
    return found
end

-- After commit.
local function keep_farewell(address, device, dialog)
    local key = farewells_key(user_of(device))
    if redis.call("HLEN", key) < MAX_FAREWELLS then
        redis.call("HSET", key, address .. " " .. device, dialog)
    end
    redis.call("PEXPIRE", key, FAREWELLS_TTL_MS)
end

-- After commit. The device is in the room, or its BYE is on its way.
local function drop_farewell(address, device)
    local name = address .. " " .. without_aor(device)
    redis.call("HDEL", farewells_key(user_of(device)), name, name .. ";aor")
end

-- After commit. One of those that farewells_of gives; ... are further fields of the event. Returns whether there is anything
-- to say: a user may be a member again.
local function say_farewell(farewell, ...)
    local address, who = farewell.address, farewell.device
    drop_farewell(address, who)
    request = { room = address, from = address }
    if is_device(who) then
        emit("bye", { who }, "dialog", farewell.dialog, ...)
    elseif redis.call("HEXISTS", room_prefix .. address, "joined:" .. who) == 1 then
        return false
    else
        emit("you_were_dropped", { who }, ...)
    end
    return true
end
