-- A process gives back a shard's lease, if it has it.
--
-- KEYS:
--   lease  imc:{S}:lease:ROLE  string
--
-- ARGV:
--   process_id  who gives it back
--
-- Returns:
--   1  the lease is free
--   0  it was not the process's: nothing changed
local lease = KEYS[1]
local process_id = ARGV[1]
if redis.call("GET", lease) ~= process_id then
    return 0
end
redis.call("DEL", lease)
return 1
