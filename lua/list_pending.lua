-- The entries of a stream that were read and are not handled yet, oldest first.
--
-- KEYS:
--   stream  imc:{S}:in or imc:{S}:out  stream
--
-- ARGV:
--   after  where to begin, as in XRANGE: - or (ID
--   count  maximum number of ids
--
-- Returns:
--   (ids)  of these entries; none if no process has read the stream yet
local stream = KEYS[1]
local after, count = unpack(ARGV)
redis.call("XLEN", stream) -- is a stream
--- @include "last_read"

local ids = {}
for _, entry in ipairs(redis.call("XRANGE", stream, after, last_read(stream) or "0-0", "COUNT", count)) do
    ids[#ids + 1] = entry[1]
end
return ids
