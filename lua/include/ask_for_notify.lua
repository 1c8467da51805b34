-- The devices of a room are to be told what has changed (notify_devices). Needs room, request and emit. Gives
-- ask_for_notify.
-- Events of this include: `roster` to nobody: an edge lets notify_devices run.

-- After commit. One such event of a room is enough, however much changes until an edge comes to it.
local function ask_for_notify()
    local pending = redis.call("HGET", room, "roster")
    if pending and #redis.call("XRANGE", events, pending, pending) > 0 then
        return
    end
    local cause = request
    request = { room = cause.room, from = cause.room }
    redis.call("HSET", room, "roster", emit("roster", { "" }))
    request = cause
end
