-- A process acquires a shard's lease if it is free, or renews its own.
--
-- KEYS:
--   lease  imc:{S}:lease:ROLE  string
--
-- ARGV:
--   process_id  the process
--   ttl_ms      how long it holds
--
-- Returns:
--   1  the process holds the lease for ttl_ms from now
--   0  another process holds it, for at most ttl_ms
local lease = KEYS[1]
local process_id, ttl_ms = unpack(ARGV)
local holder = redis.call("GET", lease)
if holder and holder ~= process_id then
    -- Longer than any process asks for: Redis's clock was set back, and the holder may be dead.
    if redis.call("PTTL", lease) > tonumber(ttl_ms) then
        redis.call("PEXPIRE", lease, ttl_ms)
    end
    return 0
end
-- PEXPIRE works even when memory is full, and after a script's first write SET does too.
if redis.call("PEXPIRE", lease, ttl_ms) == 0 then
    redis.call("SET", lease, process_id, "PX", ttl_ms)
end
return 1
