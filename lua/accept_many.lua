-- Requests go into their shard's in-stream, each as accept would put it there: many in one script cost Redis and
-- its callers less.
--
-- KEYS:
--   requests  imc:{S}:in           stream
--   ...       imc:{S}:seen:DIGEST  string  of each request
--
-- ARGV:
--   seen_ttl_ms     how long a repetition is recognised
--   max_backlog     requests the stream may hold, 0 any number
--   members_prefix  imc_members:{S}: if the deliveries of messages are to be told, else empty
--   ...             of each request: how many fields and values it has, and these
--
-- Returns:
--   accepted    in a list, at the place of a request: it is in the stream, or the number of those a message goes to
--   duplicate   likewise: it was there before
--   overloaded  likewise: the stream is full, and nothing of it is kept
local requests = KEYS[1]
local seen = { unpack(KEYS, 2) }
local seen_ttl_ms, max_backlog, members_prefix = unpack(ARGV)
local parts = { unpack(ARGV, 4) }
seen_ttl_ms, max_backlog = math.max(1, tonumber(seen_ttl_ms)), tonumber(max_backlog)
local backlog = redis.call("XLEN", requests)
for _, key in ipairs(seen) do
    redis.call("GET", key) -- is a string
end
--- @include "accept"

local ends, last = {}, 0
for i = 1, #seen do
    last = last + 1 + tonumber(parts[last + 1])
    ends[i] = last
end
assert(#seen > 0 and last == #parts, "of each request a number, and so many fields and values")

local results, first = {}, 2
for i, key in ipairs(seen) do
    results[i] = accept(key, unpack(parts, first, ends[i]))
    first = ends[i] + 2
end
return results
