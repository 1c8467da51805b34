-- What time it is, by the server that has the nonces' keys: in a Cluster each server has a clock of its own.
--
-- KEYS:
--   digest_keys  imc:digest_keys  hash
--
-- Returns:
--   (number)  ms since the epoch
local digest_keys = KEYS[1]
redis.call("HLEN", digest_keys) -- is a hash
local time = redis.call("TIME")
return time[1] * 1000 + math.floor(time[2] / 1000)
