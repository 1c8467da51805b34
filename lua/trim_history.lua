-- The history of a room loses what has expired, what is too old and what is too much; an empty one is deleted.
--
-- KEYS:
--   history   imc_history:{S}:ROOM   stream
--   expiring  imc:{S}:expiring:ROOM  sorted set
--
-- ARGV:
--   oldest_ms     what is older goes, by the worker's clock; ms since the epoch
--   max_age_ms    the same as an age, by Redis's clock; 0: no limit
--   max_messages  how many stay; 0: none
--
-- Returns:
--   (number)  in a list of six: how many stay, how many were too old, how many too many, the times of the first and of
--             the last that stay, in ms since the epoch, and how many had expired
local history, expiring = unpack(KEYS)
local oldest_ms, max_age_ms, max_messages = unpack(ARGV)
local most = assert(tonumber(max_messages), "max_messages")
--- @include "now"
--- @include "too_old"
--- @include "positions"

local MAX_EXPIRED = 5000 -- of one run; Lua cannot pass on more than 8000 values
redis.call("XLEN", history) -- is a stream
local ended = redis.call("ZRANGEBYSCORE", expiring, "-inf", now, "LIMIT", 0, MAX_EXPIRED)
local expired = 0
if #ended > 0 then
    expired = redis.call("XDEL", history, unpack(ended))
    redis.call("ZREM", expiring, unpack(ended))
end
local too_old = redis.call("XTRIM", history, "MINID", "=", oldest_kept(oldest_ms, max_age_ms))
local too_many = redis.call("XTRIM", history, "MAXLEN", "=", most)
local first = redis.call("XRANGE", history, "-", "+", "COUNT", 1)[1]
if not first then
    redis.call("DEL", history, expiring)
    return { 0, too_old, too_many, 0, 0, expired }
end

-- What is gone for another reason needs no place among those that will expire.
local count = redis.call("XLEN", history)
if redis.call("ZCARD", expiring) > count then
    for _, id in ipairs(redis.call("ZRANGE", expiring, 0, -1)) do
        if is_before(id, first[1]) then
            redis.call("ZREM", expiring, id)
        end
    end
end
local last = redis.call("XREVRANGE", history, "+", "-", "COUNT", 1)[1]
local times = { first[1]:match("^%d+"), last[1]:match("^%d+") }
return { count, too_old, too_many, tonumber(times[1]), tonumber(times[2]), expired }
