-- Whether a request was accepted before. It is asked when nothing new is accepted, so that retransmissions of what
-- was accepted still get their 202.
--
-- KEYS:
--   recent  imc:{S}:seen:recent  set
--   older   imc:{S}:seen:older   set
--
-- ARGV:
--   digest  hash that the request and its retransmissions have in common
--
-- Returns:
--   duplicate  it was accepted before
--   unknown    it was not, or too long ago
local recent, older = unpack(KEYS)
local digest = unpack(ARGV)

local is_recent, is_older = redis.call("SISMEMBER", recent, digest), redis.call("SISMEMBER", older, digest)
if is_recent + is_older > 0 then
    return "duplicate"
end
return "unknown"
