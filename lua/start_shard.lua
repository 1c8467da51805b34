-- Both streams of a shard get their consumer group, if they have none: from the beginning, so that what is
-- there already is read. Tells how far each was read before.
--
-- KEYS:
--   requests  imc:{S}:in   stream
--   events    imc:{S}:out  stream
--
-- Returns:
--   (ids)  the last entry that was handed out of requests, and of events; 0-0 if none was
local requests, events = unpack(KEYS)
redis.call("XLEN", requests) -- is a stream
redis.call("XLEN", events)
--- @include "last_read"

local read = {}
for i, stream in ipairs({ requests, events }) do
    read[i] = last_read(stream)
    if not read[i] then
        redis.call("PERSIST", stream) -- a write that a full Redis takes, after which it takes the next one, too
        redis.call("XGROUP", "CREATE", stream, "imc", "0", "MKSTREAM")
        read[i] = "0-0"
    end
end
return read
