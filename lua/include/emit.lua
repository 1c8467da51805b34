-- Appends events to the out-stream. Needs events, delivery_chunk, request. Gives emit.
redis.call("XLEN", events) -- is a stream
delivery_chunk = math.max(1, tonumber(delivery_chunk))

-- Appends one event, cut into entries of at most delivery_chunk recipients; ... are further fields and values.
-- What a device has asked for is answered to that device, if it is in the room.
-- Returns the id of the first entry, nil without recipients. It stands for the event: the room's history has the message
-- under this id, and further entries name it, unless the history has no such message (request.is_unkept). With
-- request.position, the id of an event before it, this one stands for the same message, to further recipients.
local function emit(event, to, ...)
    local data, id = request.data or "", request.position
    if request.device and to[1] == request.from and #to == 1 then
        local devices = "imc_devices:" .. events:match("{%d+}") .. ":" .. request.room
        for _, device in ipairs({ request.device, request.device .. ";aor" }) do
            if redis.pcall("HEXISTS", devices, device) == 1 then
                return redis.call("XADD", events, "*", "event", event, "room", request.room, "from", request.from,
                    "data", data, "to", device, "client", "device", ...)
            end
        end
    end
    for first = 1, #to, delivery_chunk do
        local chunk = table.concat(to, " ", first, math.min(first + delivery_chunk - 1, #to))
        if not id or request.is_unkept then
            id = redis.call("XADD", events, "*", "event", event, "room", request.room, "from", request.from,
                "data", data, "to", chunk, ...)
        else
            redis.call("XADD", events, "*", "event", event, "room", request.room, "from", request.from,
                "data", data, "to", chunk, "history_id", id, ...)
        end
    end
    return id
end
