-- The entries of a stream that were handed out to a reader and are still there, oldest first.
--
-- KEYS:
--   stream  imc:{S}:in or imc:{S}:out  stream
--
-- ARGV:
--   after  where to begin, as XRANGE takes it: - or (ID
--   most   how many to name, at most
--
-- Returns:
--   (ids)  of these entries; none if nobody has read the stream yet
local stream = KEYS[1]
local after, most = unpack(ARGV)
redis.call("XLEN", stream) -- is a stream
--- @include "last_read"

local ids = {}
for _, entry in ipairs(redis.call("XRANGE", stream, after, last_read(stream) or "0-0", "COUNT", most)) do
    ids[#ids + 1] = entry[1]
end
return ids
