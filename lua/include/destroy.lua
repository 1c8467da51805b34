-- Destroys a room. Needs history, history_off, private_rooms_prefix, owned_rooms_prefix and what refuse needs. Gives destroy.
--- @include "without_port"
--- @include "dismiss"

-- Tells all members; nothing of the room is left.
local function destroy()
    local all = with_role(RANK)
    local indexes = {}
    for _, owner in ipairs(with_role({ owner = true })) do
        indexes[#indexes + 1] = owned_rooms_prefix .. without_port(owner)
    end
    if private == "1" then
        for _, member in ipairs(all) do
            indexes[#indexes + 1] = private_rooms_prefix .. member
        end
    end
    for _, index in ipairs(indexes) do
        redis.call("SCARD", index) -- is a set
    end
    redis.call("XLEN", history) -- is a stream
    redis.call("SCARD", history_off)
    commit()
    local told = here(RANK)
    dismiss_all()
    tell("destroyed", { request.from }, told)
    for _, index in ipairs(indexes) do
        redis.call("SREM", index, request.room)
    end
    redis.call("ZREM", rooms, request.room)
    redis.call("SREM", history_off, request.room)
    redis.call("DEL", room, members, history, devices, roster)
    local prefix = "imc:" .. events:match("{%d+}") .. ":"
    redis.call("DEL", prefix .. "expiring:" .. request.room)
    for _, kind in ipairs({ "authors:", "receipts:" }) do
        redis.call("DEL", prefix .. kind .. request.room .. ":recent", prefix .. kind .. request.room .. ":older")
    end
    return "done"
end
