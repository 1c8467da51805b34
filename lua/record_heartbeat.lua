-- A process says that it lives, or where it listens, and learns who else does. Times are the server's own. A score that lies ahead
-- comes from before the server's clock was put back: its process beats again or is gone.
--
-- KEYS:
--   processes  imc:workers, imc:edges or imc:edge_addresses  sorted set
--
-- ARGV:
--   process_id  who beats
--   ttl_ms      how long after its last beat a process counts as living
--
-- Returns:
--   (list)  ids of the living, sorted
local processes = KEYS[1]
local process_id, ttl_ms = unpack(ARGV)
local time = redis.call("TIME")
local now, ttl = time[1] * 1000 + math.floor(time[2] / 1000), math.max(1, tonumber(ttl_ms))
redis.call("ZREMRANGEBYSCORE", processes, "-inf", now - ttl)
redis.call("ZREMRANGEBYSCORE", processes, now + ttl, "+inf")
redis.call("ZADD", processes, now, process_id)
local living = redis.call("ZRANGE", processes, 0, -1)
table.sort(living)
return living
