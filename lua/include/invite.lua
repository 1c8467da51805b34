-- A user is asked to join by INVITE, because its client shows rooms as conferences. Until the outcome is known, the user's
-- field of the members has " inviting" behind the role, and `invitation:USER` in the room's hash is the id of the event. If
-- only one device of a member is asked, the id is in `invitation:DEVICE`, and the member goes on as before. A device that
-- has not got the BYE of an earlier stay gets that first: Linphone leaves a room to which it is invited again. Needs
-- request, emit, and what role gives. Gives send_invite, invite_devices, is_pending, is_under_way, with_reinvited, and
-- what device_name and farewells give.
-- Events of this include: `invite` to the user or the device; text: the topic, list: some of the other members, detail:
-- devices of the user that are in the room; joined: since when the user is a member, unless this event is the beginning.
--- @include "device_name"
--- @include "farewells"
--- @include "reported"
local MAX_LISTED = 50
local first_members = {}

-- Whether the report of this INVITE waits for a worker, or may be among those that do.
local function is_reported(id)
    local reported, are_more = reported_events()
    return reported[id] or are_more
end

-- Whether the INVITE with this id has no outcome yet, as far as workers know.
local function is_pending(id)
    return #redis.call("XRANGE", events, id, id) > 0 or is_reported(id)
end

-- Whether the user's INVITE has no outcome yet. If its event got lost, as with an edge's dead letters, it is sent again.
local function is_under_way(room, user, value)
    local id = not is_away(value) and redis.call("HGET", room, "invitation:" .. user)
    return id and is_pending(id)
end

-- Some members of the room, read once in a script, which may invite hundreds.
local function some_members(members)
    if not first_members[members] then
        local found, all = {}, redis.call("HGETALL", members)
        for i = 1, #all, 2 do
            if #found <= MAX_LISTED and all[i + 1] ~= "invited" then
                found[#found + 1] = all[i]
            end
        end
        first_members[members] = found
    end
    return first_members[members]
end

-- The user's devices in the room. Linphone ends its session with a room when it is invited again: they are not to be invited.
local function present_devices(address, user)
    local key, found = "imc_devices:" .. events:match("{%d+}") .. ":" .. address, {}
    local prefix = user_of(user) .. ";gr="
    for _, device in ipairs(redis.pcall("HKEYS", key)) do -- a key of a wrong type has no devices
        if device:sub(1, #prefix) == prefix then
            found[#found + 1] = device
        end
    end
    return found
end

-- The text of a session whose device may get the INVITE with this id, which goes to its user: that the session ends is then no
-- sign that the user leaves (unknown_session).
local function with_reinvited(dialog, id)
    return (dialog:gsub('"reinvited":"[%d-]*",', "", 1):gsub("^{", '{"reinvited":"' .. id .. '",'))
end

-- After commit. A proxy that forks an INVITE to the user sends it to these devices, too.
local function note_reinvited(room, present, id)
    for _, device in ipairs(present) do
        local dialog = redis.call("HGET", room, "dialog:" .. device)
        if dialog then
            redis.call("HSET", room, "dialog:" .. device, with_reinvited(dialog, id))
        end
    end
end

-- After commit. `room` and `members` are the keys of the room with this address. Returns the id of the event. What the
-- creator has said of the room, as data of a request, comes with each INVITE.
local function send_invite(room, members, address, user, inviter)
    local topic, about, joined = unpack(redis.call("HMGET", room, "topic", "conference", "joined:" .. user_of(user)))
    local others = {}
    for _, member in ipairs(some_members(members)) do
        if #others < MAX_LISTED and member ~= user_of(user) then
            others[#others + 1] = member
        end
    end
    local cause = request
    request = { room = address, from = address }
    for _, farewell in ipairs(farewells_in(address, user)) do
        drop_farewell(address, farewell.device)
        emit("bye", { farewell.device }, "dialog", farewell.dialog)
    end
    request = { room = address, from = inviter, data = about }
    -- the creator of a room has no such place
    joined = joined or is_device(user) and "0-0" or ""
    local present = present_devices(address, user)
    local id = emit("invite", { user }, "text", topic or "", "list", table.concat(others, " "), "detail",
        (table.concat(present, " "):gsub(";aor", "")), "joined", joined)
    request = cause
    redis.call("HSET", room, "invitation:" .. user, id)
    redis.call("HDEL", room, "left:" .. user)
    if not is_device(user) then
        note_reinvited(room, present, id)
    end
    return id
end

-- After commit. A member who is in the room by a command: the devices of its user that show rooms as conferences, addresses
-- separated by spaces, are asked, but for the one that has sent the request in a dialog.
local function invite_devices(listed, user)
    for device in listed:gmatch("%S+") do
        if user_of(device) == user and not (request.dialog and device == request.device) then
            send_invite(room, members, request.room, device, user)
        end
    end
end
