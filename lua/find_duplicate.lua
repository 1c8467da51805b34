-- Whether a request was taken already: asked where nothing new is taken, and what was taken keeps its answer.
--
-- KEYS:
--   recent  imc:{S}:seen:recent  set
--   older   imc:{S}:seen:older   set
--
-- ARGV:
--   digest  what the request and its repetitions have in common
--
-- Returns:
--   duplicate  it was
--   unknown    it was not, as far as is remembered
local recent, older = unpack(KEYS)
local digest = unpack(ARGV)

local is_recent, is_older = redis.call("SISMEMBER", recent, digest), redis.call("SISMEMBER", older, digest)
if is_recent + is_older > 0 then
    return "duplicate"
end
return "unknown"
