-- The first probe of a user who is away. Needs probes, probe_waits and first_wait_ms. Gives plan_first_probe, and what now
-- gives.
--- @include "now"
redis.call("ZCARD", probes) -- is a sorted set
redis.call("HLEN", probe_waits) -- is a hash
first_wait_ms = assert(tonumber(first_wait_ms), "first_wait_ms")

-- After commit. Nothing changes if one is planned already.
local function plan_first_probe(user)
    if redis.call("ZADD", probes, "NX", now + first_wait_ms, user) == 1 then
        redis.call("HSET", probe_waits, user, first_wait_ms)
    end
end
