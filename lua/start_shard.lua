-- Both streams of a shard get their consumer group, if they have none: from the beginning, so that what is
-- there already is read.
--
-- KEYS:
--   requests  imc:{S}:in   stream
--   events    imc:{S}:out  stream
--
-- Returns:
--   1  a group was made
--   0  both were there
local requests, events = unpack(KEYS)
redis.call("XLEN", requests) -- is a stream
redis.call("XLEN", events)
local function has_group(stream)
    if redis.call("EXISTS", stream) == 0 then
        return false
    end
    for _, group in ipairs(redis.call("XINFO", "GROUPS", stream)) do
        if group[2] == "imc" then
            return true
        end
    end
    return false
end

local made = 0
for _, stream in ipairs({ requests, events }) do
    if not has_group(stream) then
        redis.call("PERSIST", stream) -- a write that a full Redis takes, after which it takes the next one, too
        redis.call("XGROUP", "CREATE", stream, "imc", "0", "MKSTREAM")
        made = 1
    end
end
return made
