-- The request this run is for. Handled entries are deleted, so the next one of a shard is always the first of
-- its in-stream: requests take effect in order and once, whoever else runs the same ones.
-- Needs requests, entry_id. Gives request (its fields by name) and commit.
local head = redis.call("XRANGE", requests, "-", "+", "COUNT", 1)[1]
if not head or head[1] ~= entry_id then
    if redis.call("XRANGE", requests, entry_id, entry_id)[1] then
        return "early"
    end
    return "gone"
end

local request = {}
for i = 1, #head[2], 2 do
    request[head[2][i]] = head[2][i + 1]
end
if not (request.type and request.from and request.room) then
    return redis.error_reply("IMC entry " .. entry_id .. " lacks type, from or room")
end

-- The first writes of every script. They free memory, so Redis takes them even when it is full, and after a
-- script's first write it refuses none of the others.
local function commit()
    redis.call("XDEL", requests, entry_id)
end

-- A room that speaks to itself would answer itself for ever: no event, not even a refusal.
if request.from == request.room then
    commit()
    return "done"
end
