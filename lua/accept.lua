-- A request is accepted into its shard's in-stream, once: its retransmissions, and retries by a balancer, change
-- nothing. A duplicate also causes a write, so that WAIT and WAITAOF after it cover the first copy too.
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
--   members_prefix  imc_members:{S}: to count the recipients of a message, or empty
--   digest          hash that the request and its retransmissions have in common
--   ...             fields and values of the request
--
-- Returns:
--   accepted    the request is in the stream; for a message with members_prefix, the number of recipients instead
--   duplicate   it was accepted before
--   overloaded  the stream is full: nothing changed
local recent, older, clock, requests = unpack(KEYS)
local seen_ms, max_backlog, members_prefix, digest = unpack(ARGV)
local parts, at = ARGV, 5
assert(#parts > at and #parts % 2 == 0, "fields and values")
local digests, first, last = { digest }, { at }, { #parts }
--- @include "accept"

return accept()[1]
