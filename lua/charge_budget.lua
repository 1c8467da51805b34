-- What a user has done at one edge since that edge last told comes off the user's budget. A budget may be
-- overdrawn: what is owed has to be waited for.
--
-- KEYS:
--   budget  imc:{S}:budget:KIND:USER  hash
--
-- ARGV:
--   cost       how much was done
--   per_hour   how much a user may do in the long run
--   burst      how much at once
--   most_owed  by how much the budget may be overdrawn; more is forgiven
--
-- Returns:
--   (number)  ms to wait before the next may be done, 0 for none
local budget = KEYS[1]
local cost, per_hour, burst, most_owed = unpack(ARGV)
cost, per_hour, burst, most_owed = tonumber(cost), tonumber(per_hour), tonumber(burst), tonumber(most_owed)
--- @include "budget"

local tokens = math.max(-most_owed, left(budget, per_hour, burst) - cost)
keep(budget, tokens, nil, per_hour, burst)
return wait_ms(tokens, 0, per_hour)
