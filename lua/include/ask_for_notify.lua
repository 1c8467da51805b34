-- The devices of a room are to be told what has changed (notify_devices). Needs request and emit; ask_for_notify needs room.
-- Gives ask_for_notify, ask_for_notify_in.
-- Events of this include: `roster` to nobody: an edge lets notify_devices run.

-- After commit. `key` is the key of the room with this address. One such event of a room is enough, however much changes until
-- an edge comes to it.
local function ask_for_notify_in(key, address)
    local pending = redis.call("HGET", key, "roster")
    if pending and #redis.call("XRANGE", events, pending, pending) > 0 then
        return
    end
    local cause = request
    request = { room = address, from = address }
    redis.call("HSET", key, "roster", emit("roster", { "" }))
    request = cause
end

-- After commit. In the room of the request.
local function ask_for_notify()
    ask_for_notify_in(room, request.room)
end
