-- Appends events to the out-stream. Needs events, delivery_chunk, request. Gives emit.
redis.call("XLEN", events) -- is a stream
delivery_chunk = math.max(1, tonumber(delivery_chunk))

-- Appends one event, cut into entries of at most delivery_chunk recipients; ... are further fields and values.
-- Returns the id of the last entry.
local function emit(event, to, ...)
    local data = request.data or ""
    local id
    for first = 1, #to, delivery_chunk do
        local chunk = table.concat(to, " ", first, math.min(first + delivery_chunk - 1, #to))
        id = redis.call("XADD", events, "*", "event", event, "room", request.room, "from", request.from,
            "data", data, "to", chunk, ...)
    end
    return id
end
