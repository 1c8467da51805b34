-- A user is asked to join by INVITE, because its client shows rooms as conferences. Until the outcome is known, the user's
-- field of the members has " inviting" behind the role, and `invitation:USER` in the room's hash is the id of the event.
-- Needs request, emit, and what role gives. Gives send_invite, is_under_way.
-- Events of this include: `invite` to the user; text: the topic, list: some of the other members.
local MAX_LISTED = 200

-- Whether the user's INVITE has no outcome yet. If its event got lost, as with an edge's dead letters, it is sent again.
local function is_under_way(room, user, value)
    local id = not is_away(value) and redis.call("HGET", room, "invitation:" .. user)
    return id and #redis.call("XRANGE", events, id, id) > 0
end

-- After commit. `room` and `members` are the keys of the room with this address. Returns the id of the event. What the
-- creator has said of the room, as data of a request, comes with each INVITE.
local function send_invite(room, members, address, user, inviter)
    local topic, about = unpack(redis.call("HMGET", room, "topic", "conference"))
    local others, all = {}, redis.call("HGETALL", members)
    for i = 1, #all, 2 do
        if #others < MAX_LISTED and all[i] ~= user and all[i + 1] ~= "invited" then
            others[#others + 1] = all[i]
        end
    end
    local cause = request
    request = { room = address, from = inviter, data = about }
    local id = emit("invite", { user }, "text", topic or "", "list", table.concat(others, " "))
    request = cause
    redis.call("HSET", room, "invitation:" .. user, id)
    return id
end
