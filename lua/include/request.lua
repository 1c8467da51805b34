-- The request that this run handles. Handled entries are deleted, so the next request of a shard is always the
-- first entry of its in-stream. That makes requests take effect in order and once, even if
-- another process runs the same ones. Needs requests, entry_id. Gives request (the entry's fields by name) and commit.
local first = redis.call("XRANGE", requests, "-", "+", "COUNT", 1)[1]
if not first or first[1] ~= entry_id then
    if redis.call("XRANGE", requests, entry_id, entry_id)[1] then
        return "early"
    end
    return "gone"
end

local request = {}
for i = 1, #first[2], 2 do
    request[first[2][i]] = first[2][i + 1]
end
-- What asks for receipts is in CPIM, and does not say so.
request.cpim = request.cpim or request.type == "message" and request.message_id
if not (request.type and request.from and request.room) then
    return redis.error_reply("IMC entry " .. entry_id .. " lacks type, from or room")
end

-- The first write of every script. It frees memory, so Redis accepts it even when memory is full, and after a
-- script's first write Redis refuses none of its other writes.
local function commit()
    redis.call("XDEL", requests, entry_id)
end

-- A room that writes to itself would never stop: no event, not even a refusal. In user_online the user is both.
if request.from == request.room and request.type ~= "user_online" then
    commit()
    return "done"
end
