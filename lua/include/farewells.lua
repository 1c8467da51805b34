-- BYE requests that found nobody: a hash for each user of a shard, "ROOM DEVICE" to the dialog that has to end. The room may be
-- gone by now, so its own hash is no place for them. While the BYE is sent, only its event has the dialog. Needs events, and
-- for say_farewell request and emit. Gives farewells_key, farewells_of, keep_farewell, drop_farewell, say_farewell.
-- Events of this include: `bye` to the device; dialog: the one to end, catch_up: probe, if it is to find out who is back.
--- @include "device_name"

-- A device that is back later learns it when it asks for its rosters.
local FAREWELLS_TTL_MS, MAX_FAREWELLS = 30 * 24 * 3600 * 1000, 100

local function farewells_key(user)
    return "imc:" .. events:match("{%d+}") .. ":farewells:" .. user
end

-- Room, device and dialog of each.
local function farewells_of(user)
    local found, all = {}, redis.call("HGETALL", farewells_key(user))
    for i = 1, #all, 2 do
        local address, device = all[i]:match("^(%S+) (%S+)$")
        found[#found + 1] = { address = address, device = device, dialog = all[i + 1] }
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

-- After commit. One of those that farewells_of gives; ... are further fields of the event.
local function say_farewell(farewell, ...)
    drop_farewell(farewell.address, farewell.device)
    request = { room = farewell.address, from = farewell.address }
    emit("bye", { farewell.device }, "dialog", farewell.dialog, ...)
end
