-- The history of a room loses what is too old and what is too much; an empty one is deleted.
--
-- KEYS:
--   history  imc_history:{S}:ROOM  stream
--
-- ARGV:
--   oldest_ms     what is older goes; ms since the epoch, 0: no limit
--   max_messages  how many stay, approximately; 0: none
--
-- Returns:
--   (number)  in a list of five: how many stay, how many were too old, how many too many, and the times of the first and
--             of the last that stay, in ms since the epoch
local history = KEYS[1]
local oldest_ms, max_messages = unpack(ARGV)
local oldest, most = tonumber(oldest_ms), tonumber(max_messages)
assert(oldest and most, "oldest_ms and max_messages")

local too_old = oldest > 0 and redis.call("XTRIM", history, "MINID", "=", string.format("%d-0", oldest)) or 0
local too_many = redis.call("XTRIM", history, "MAXLEN", most > 0 and "~" or "=", most)
local first = redis.call("XRANGE", history, "-", "+", "COUNT", 1)[1]
if not first then
    redis.call("DEL", history)
    return { 0, too_old, too_many, 0, 0 }
end
local last = redis.call("XREVRANGE", history, "+", "-", "COUNT", 1)[1]
local times = { first[1]:match("^%d+"), last[1]:match("^%d+") }
return { redis.call("XLEN", history), too_old, too_many, tonumber(times[1]), tonumber(times[2]) }
