-- Taking a request once. Needs requests, seen_ttl_ms, max_backlog, members_prefix, backlog (the stream's length).
-- Gives accept.

-- How many a message goes to if its sender may speak: what it costs that one. The invited count until they have
-- answered. Not our business is what is wrong with a room: its worker will see.
local function reach(from, room)
    local members = members_prefix .. room
    local size = redis.pcall("HEXISTS", members, from) == 1 and redis.pcall("HLEN", members)
    return type(size) == "number" and size - 1 or 0
end

-- ... are fields and values of the request, the first of them type, from, room.
local function accept(seen, ...)
    if redis.call("GET", seen) then
        redis.call("PEXPIRE", seen, seen_ttl_ms)
        return "duplicate"
    elseif max_backlog > 0 and backlog >= max_backlog then
        return "overloaded"
    end
    local _, kind, _, from, _, room = ...
    local deliveries = members_prefix ~= "" and kind == "message" and reach(from, room)
    redis.call("XADD", requests, "*", ...)
    redis.call("SET", seen, "1", "PX", seen_ttl_ms)
    backlog = backlog + 1
    if deliveries then
        return deliveries
    end
    return "accepted"
end
