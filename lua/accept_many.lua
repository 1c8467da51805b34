-- Requests go into their shard's in-stream, each as accept would put it there: many in one script cost Redis and
-- its callers less.
--
-- KEYS:
--   recent    imc:{S}:seen:recent  set
--   older     imc:{S}:seen:older   set
--   clock     imc:{S}:seen:clock   hash
--   requests  imc:{S}:in           stream
--
-- ARGV:
--   seen_ms         how long a repetition is recognised, at least
--   max_backlog     requests the stream may hold, 0 any number
--   members_prefix  imc_members:{S}: if the deliveries of messages are to be told, else empty
--   ...             of each request: its digest, how many fields and values it has, and these
--
-- Returns:
--   accepted    in a list, at the place of a request: it is in the stream, or the number of those a message goes to
--   duplicate   likewise: it was there before
--   overloaded  likewise: the stream is full, and nothing of it is kept
local recent, older, clock, requests = unpack(KEYS)
local seen_ms, max_backlog, members_prefix = unpack(ARGV)
local parts = { unpack(ARGV, 4) }
--- @include "accept"

local starts, last = {}, 0
while last < #parts do
    starts[#starts + 1] = last + 1
    local count = tonumber(parts[last + 2])
    assert(count > 0 and count % 2 == 0, "fields and values")
    last = last + 2 + count
end
assert(#starts > 0 and last == #parts, "of each request a digest, a number, and so many fields and values")

local results = {}
for i, start in ipairs(starts) do
    results[i] = accept(parts[start], unpack(parts, start + 2, start + 1 + tonumber(parts[start + 1])))
end
return results
