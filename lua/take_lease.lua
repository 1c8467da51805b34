-- A process takes a shard's lease if it is free, or prolongs its own.
--
-- KEYS:
--   lease  imc:{S}:lease:ROLE  string
--
-- ARGV:
--   process_id  who takes it
--   ttl_ms      how long it holds
--
-- Returns:
--   1  the lease is the process's for ttl_ms from now
--   0  another process has it, for ttl_ms at most
local lease = KEYS[1]
local process_id, ttl_ms = unpack(ARGV)
local holder = redis.call("GET", lease)
if holder and holder ~= process_id then
    -- Longer than any process asks for: Redis's clock was put back, and its holder may be dead.
    if redis.call("PTTL", lease) > tonumber(ttl_ms) then
        redis.call("PEXPIRE", lease, ttl_ms)
    end
    return 0
end
-- Prolonging writes even when Redis is full, and after a script's first write a SET may follow.
if redis.call("PEXPIRE", lease, ttl_ms) == 0 then
    redis.call("SET", lease, process_id, "PX", ttl_ms)
end
return 1
