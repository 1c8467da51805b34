-- A process releases a shard's lease, if it is the holder.
--
-- KEYS:
--   lease  imc:{S}:lease:ROLE  string
--
-- ARGV:
--   process_id  the holder
--
-- Returns:
--   1  the lease is free
--   0  another process holds it, or none: nothing changed
local lease = KEYS[1]
local process_id = ARGV[1]
if redis.call("GET", lease) ~= process_id then
    return 0
end
redis.call("DEL", lease)
return 1
