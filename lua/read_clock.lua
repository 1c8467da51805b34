-- The time of the server that has the nonces' keys: in a cluster each server has its own clock.
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
