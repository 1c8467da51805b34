-- A member who was away is back: an edge is asked to hand it the first part of what it missed. Needs request and emit.
-- Gives call_back.
-- Events of this include: `catch_up` to the member; first: 1, unless it is a further part.

-- After commit. `room` is the key of the room with this address; nothing of the request is used. The event that leads on,
-- this one or the last of a part, is in the room's hash: while it exists, a second one is not needed.
local function call_back(room, address, user, is_first)
    local field = "returning:" .. user
    local leading = redis.call("HGET", room, field)
    if is_first and leading and #redis.call("XRANGE", events, leading, leading) > 0 then
        return
    end
    request = { room = address, from = address }
    local id = emit("catch_up", { user }, "first", is_first and "1" or "0")
    redis.call("HSET", room, field, id)
    if is_first then
        redis.call("HSET", room, "sign:" .. user, id) -- whoever gives signs is not removed (remove_absent)
    end
end
