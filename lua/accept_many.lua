-- Requests go into their shard's in-stream, each as accept would put it there: many in one script cost Redis and
-- its callers less.
--
-- KEYS:
--   requests  imc:{S}:in  stream
--
-- ARGV:
--   seen_ttl_ms  how long a repetition is recognised
--   max_backlog  requests the stream may hold, 0 any number
--   seen_prefix  seen key without its digest
--   ...          of each request: digest, how many fields and values it has, and these
--
-- Returns:
--   accepted    in a list, at the place of a request: it is in the stream
--   duplicate   likewise: it was there before
--   overloaded  likewise: the stream is full, and nothing of it is kept
local requests = KEYS[1]
local seen_ttl_ms, max_backlog, seen_prefix = unpack(ARGV)
local parts = { unpack(ARGV, 4) }
seen_ttl_ms, max_backlog = math.max(1, tonumber(seen_ttl_ms)), tonumber(max_backlog)
local backlog = redis.call("XLEN", requests)
--- @include "accept"

local at = 1
while parts[at] do
    at = at + 2 + tonumber(parts[at + 1])
end
assert(at > 1 and at == #parts + 1, "a request is its digest, a number, and so many fields and values")

local results
results, at = {}, 1
while parts[at] do
    local last = at + 1 + tonumber(parts[at + 1])
    local result = accept(seen_prefix .. parts[at], unpack(parts, at + 2, last))
    results[#results + 1] = result
    at = last + 1
end
return results
