-- The sender creates the room and owns it. Needs owned_rooms, private_rooms, owned_elsewhere, max_rooms_per_owner,
-- client_devices (of the sender) and what refuse needs. Gives create_and_own.
--- @include "owned_rooms"
--- @include "invite"
assert(client_devices, "client_devices")
local function create_and_own()
    if owns_maximum then
        return refuse("too_many_rooms")
    end
    local is_private = request.private == "1" and "1" or "0"
    commit()
    local created_at = entry_id:match("^%d+") -- the stream's id begins with the time, in ms since the epoch
    redis.call("HSET", room, "private", is_private, "owner", request.from, "created_at", created_at)
    redis.call("HSET", members, request.from, "owner")
    redis.call("ZADD", rooms, is_private, request.room)
    redis.call("SADD", owned_rooms, request.room)
    if is_private == "1" then
        redis.call("SADD", private_rooms, request.room)
    end
    local id = emit("created", { request.from }, "detail", is_private == "1" and "private" or "public")
    -- before all messages: a device that comes later gets everything. A room of this name may have been there before
    redis.call("HSET", room, "joined:" .. request.from, id)
    invite_devices(client_devices, request.from)
    return "done"
end
