-- Two hashes with a TTL that forget the oldest of what they hold: new fields go into the recent one. When that is full, it
-- becomes the older one, and replaces the last. Gives turn_generation, in_generations.

-- After commit, and after a write to `recent`. Without further writes, a field is there for ttl_ms at least, and for twice as
-- long at most: to set the TTL with each message would cost a microsecond, and as much again in the append-only file.
local function turn_generation(recent, older, max, ttl_ms)
    if redis.call("PTTL", recent) < ttl_ms then
        redis.call("PEXPIRE", recent, 2 * ttl_ms)
    end
    if redis.call("HLEN", recent) >= max then
        redis.call("RENAME", recent, older)
    end
end

-- The value of a field, false if it is in neither.
local function in_generations(recent, older, field)
    return redis.call("HGET", recent, field) or redis.call("HGET", older, field)
end
