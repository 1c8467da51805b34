-- Needs events. Gives place_now.

-- After commit. An id of the out-stream without an event: positions are compared with all ids of that stream.
local function place_now()
    local id = redis.call("XADD", events, "*", "", "")
    redis.call("XDEL", events, id)
    return id
end
