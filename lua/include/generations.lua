-- Two hashes with a TTL that forget the oldest of what they hold: new fields go into the recent one. When that is full, it
-- becomes the older one, and replaces the last. Gives turn_generation, in_generations.

-- After commit, and after a write to `recent`.
local function turn_generation(recent, older, max, ttl_ms)
    if redis.call("HLEN", recent) >= max then
        redis.call("RENAME", recent, older)
        redis.call("PEXPIRE", older, ttl_ms)
    else
        redis.call("PEXPIRE", recent, ttl_ms)
    end
end

-- The value of a field, false if it is in neither.
local function in_generations(recent, older, field)
    return redis.call("HGET", recent, field) or redis.call("HGET", older, field)
end
