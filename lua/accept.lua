-- A request goes into its shard's in-stream, once: its retransmissions and a balancer's retries change
-- nothing. That also writes for a duplicate, so that WAIT and WAITAOF after it cover the first one.
--
-- KEYS:
--   seen      imc:{S}:seen:DIGEST  string
--   requests  imc:{S}:in           stream
--
-- ARGV:
--   seen_ttl_ms  how long a repetition is recognised
--   max_backlog  requests the stream may hold, 0 any number
--   ...          fields and values of the request
--
-- Returns:
--   accepted    the request is in the stream
--   duplicate   it was there before
--   overloaded  the stream is full: nothing changed
local seen, requests = unpack(KEYS)
local seen_ttl_ms, max_backlog = unpack(ARGV)
local fields = { unpack(ARGV, 3) }
seen_ttl_ms = math.max(1, tonumber(seen_ttl_ms))

local backlog = redis.call("XLEN", requests)
if redis.call("GET", seen) then
    redis.call("PEXPIRE", seen, seen_ttl_ms)
    return "duplicate"
elseif tonumber(max_backlog) > 0 and backlog >= tonumber(max_backlog) then
    return "overloaded"
end
redis.call("XADD", requests, "*", unpack(fields))
redis.call("SET", seen, "1", "PX", seen_ttl_ms)
return "accepted"
