-- Appending events to the out-stream. Needs events, delivery_chunk, request.
redis.call("XLEN", events) -- is a stream
delivery_chunk = math.max(1, tonumber(delivery_chunk))

-- One event, cut into entries of at most delivery_chunk recipients; ... are further fields and values.
-- Gives the last entry's id.
local function emit(event, to, ...)
    local entry = { "XADD", events, "*", "event", event, "room", request.room, "to", "", "from", request.from, ... }
    for _, field in ipairs({ "call_id", "at", "data" }) do
        entry[#entry + 1] = field
        entry[#entry + 1] = request[field] or ""
    end
    local id
    for first = 1, #to, delivery_chunk do
        entry[9] = table.concat(to, " ", first, math.min(first + delivery_chunk - 1, #to))
        id = redis.call(unpack(entry))
    end
    return id
end
