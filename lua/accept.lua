-- A request goes into its shard's in-stream, once: its retransmissions and a balancer's retries change
-- nothing. That also writes for a duplicate, so that WAIT and WAITAOF after it cover the first one.
--
-- KEYS:
--   seen      imc:{S}:seen:DIGEST  string
--   requests  imc:{S}:in           stream
--
-- ARGV:
--   seen_ttl_ms     how long a repetition is recognised
--   max_backlog     requests the stream may hold, 0 any number
--   members_prefix  imc_members:{S}: if the deliveries of a message are to be told, else empty
--   ...             fields and values of the request
--
-- Returns:
--   accepted    the request is in the stream; with members_prefix, of a message, the number it goes to instead
--   duplicate   it was there before
--   overloaded  the stream is full: nothing changed
local seen, requests = unpack(KEYS)
local seen_ttl_ms, max_backlog, members_prefix = unpack(ARGV)
local fields = { unpack(ARGV, 4) }
seen_ttl_ms, max_backlog = math.max(1, tonumber(seen_ttl_ms)), tonumber(max_backlog)
local backlog = redis.call("XLEN", requests)
--- @include "accept"

return accept(seen, unpack(fields))
