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
local parts, at = ARGV, 4
local digests, first, last = {}, {}, {}
while at < #parts do
    local count = tonumber(parts[at + 1])
    assert(count > 0 and count % 2 == 0, "fields and values")
    digests[#digests + 1], first[#first + 1], last[#last + 1] = parts[at], at + 2, at + 1 + count
    at = at + 2 + count
end
assert(#digests > 0 and at == #parts + 1, "of each request a digest, a number, and so many fields and values")
--- @include "accept"

return accept()
