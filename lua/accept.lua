-- A request goes into its shard's in-stream, once: its retransmissions and a balancer's retries change
-- nothing. That also writes for a duplicate, so that WAIT and WAITAOF after it cover the first one.
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
--   members_prefix  imc_members:{S}: if the deliveries of a message are to be told, else empty
--   digest          what the request and its repetitions have in common
--   ...             fields and values of the request
--
-- Returns:
--   accepted    the request is in the stream; with members_prefix, of a message, the number it goes to instead
--   duplicate   it was there before
--   overloaded  the stream is full: nothing changed
local recent, older, clock, requests = unpack(KEYS)
local seen_ms, max_backlog, members_prefix, digest = unpack(ARGV)
local parts, at = ARGV, 5
assert(#parts > at and #parts % 2 == 0, "fields and values")
local digests, first, last = { digest }, { at }, { #parts }
--- @include "accept"

return accept()[1]
