-- Requests are accepted into their shard's in-stream, each as accept would do it. Many in one script cost Redis
-- and its callers less.
--
-- KEYS:
--   recent    imc:{S}:seen:recent  set
--   older     imc:{S}:seen:older   set
--   clock     imc:{S}:seen:clock   hash
--   requests  imc:{S}:in           stream
--
-- ARGV:
--   seen_ms         how long a retransmission is recognised, at least
--   max_backlog     maximum length of the stream, 0 for no limit
--   members_prefix  imc_members:{S}: to count the recipients of messages, or empty
--   ...             for each request: its digest, how many fields and values it has, and these
--
-- Returns:
--   accepted    in a list, at the place of a request: it is in the stream; for a message with members_prefix,
--               the number of recipients instead
--   duplicate   likewise: it was accepted before
--   overloaded  likewise: the stream is full, the request is not kept
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
assert(#digests > 0 and at == #parts + 1, "for each request a digest, a number, and as many fields and values")
--- @include "accept"

return accept()
