-- What a user has done at one edge since that edge last told comes off the user's budget. A budget may be
-- overdrawn, by as much as it holds when full: what is owed has to be waited for.
--
-- KEYS:
--   budget  imc:{S}:budget:KIND:USER  hash
--
-- ARGV:
--   cost      how much was done
--   per_hour  how much a user may do in the long run
--   burst     how much at once
--
-- Returns:
--   (list)  ms to wait before the next may be done, 0 for none; 1 if nobody has been told of it, else 0
local budget = KEYS[1]
local cost, per_hour, burst = unpack(ARGV)
cost, per_hour, burst = tonumber(cost), tonumber(per_hour), tonumber(burst)
--- @include "budget"

local tokens, told = left(budget, per_hour, burst)
told = told and tokens < burst / 2
tokens = math.max(-burst, tokens - cost)
local wait = wait_ms(tokens, 0, per_hour)
keep(budget, tokens, told or wait > 0, nil, per_hour, burst)
return { wait, (wait > 0 and not told) and 1 or 0 }
