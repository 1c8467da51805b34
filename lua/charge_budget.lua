-- What a user did at one edge since that edge last reported is charged to the user's budget. A budget may be
-- overdrawn; then the user has to wait.
--
-- KEYS:
--   budget  imc:{S}:budget:KIND:USER  hash
--
-- ARGV:
--   cost       how much the user did
--   per_hour   how much a user may do per hour in the long run
--   burst      how much a user may do at once
--   max_debt   by how much the budget may be overdrawn; more is not charged
--
-- Returns:
--   (number)  ms to wait before the user may do more, 0 for none
local budget = KEYS[1]
local cost, per_hour, burst, max_debt = unpack(ARGV)
cost, per_hour, burst, max_debt = tonumber(cost), tonumber(per_hour), tonumber(burst), tonumber(max_debt)
--- @include "budget"

local tokens = math.max(-max_debt, left(budget, per_hour, burst) - cost)
keep(budget, tokens, nil, per_hour, burst)
return wait_ms(tokens, 0, per_hour)
