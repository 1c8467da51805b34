-- Makes a user a member. Needs private_rooms, client_devices (both of that user), announce_joins and what refuse needs.
-- Gives admit.
-- Events of this include: `topic` to the new member, if the room has one; text: the topic.
--- @include "announce"
--- @include "roster"
--- @include "invite"
--- @include "member_who_left"
--- @include "bring_back"
redis.call("SCARD", private_rooms) -- is a set
assert(client_devices, "client_devices")

-- After commit. Tells the new member, the sender, and all other members unless the room is quiet, and shows the new
-- member the topic; ... are further fields of the event. Its detail is off in a room that keeps no messages.
local function admit(address, event, ...)
    redis.call("HDEL", room, "invitation:" .. address)
    if private == "1" then
        redis.call("SADD", private_rooms, request.room)
    end
    record_arrival(address)
    local left = member_who_left(members, room)
    if left then
        bring_back(room, left)
    end
    -- Whoever is added by the client of a conference is asked by INVITE: its client may show conferences as well. So is
    -- who has registered such a client. What is said from now on waits until the client has accepted.
    if (request.dialog or client_devices ~= "") and address ~= request.from then
        redis.call("HSET", members, address, "member inviting")
        local position = send_invite(room, members, request.room, address, request.from)
        redis.call("HSET", room, "joined:" .. address, position, "away:" .. address, position)
        announce(event, { request.from }, ...)
        return
    end
    redis.call("HSET", members, address, "member")
    local topic, history = unpack(redis.call("HMGET", room, "topic", "history"))
    local told = { address, request.from }
    local id
    if history == "off" then
        id = announce(event, told, "detail", "off", ...)
    else
        id = announce(event, told, ...)
    end
    -- what the room kept before this event is not shown to the new member, unless the room says otherwise
    redis.call("HSET", room, "joined:" .. address, id)
    if topic then
        emit("topic", { address }, "text", topic)
    end
    invite_devices(client_devices, address)
end
