-- A process records that it is alive, or where it listens, and learns which others are. Times are of the server's
-- clock. A score in the future is from before that clock was set back: its process is dead, or will record again.
--
-- KEYS:
--   processes  imc:workers, imc:edges or imc:edge_addresses  sorted set
--
-- ARGV:
--   process_id  the process, or HOST|PORT
--   ttl_ms      how long after its last heartbeat a process counts as alive
--
-- Returns:
--   (list)  ids of all that are alive, sorted
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
