-- The invitations of one request are charged to two budgets each, the inviter's and the inviter's for this one user: all of them,
-- or none if one of the budgets does not last. A retransmission of the last request is not charged again.
--
-- KEYS:
--   inviter  imc:{S}:budget:KIND:USER  hash
--   ...      imc:{S}:budget:KIND:USER  hash  of each target
--
-- ARGV:
--   digest      hash that the request and its retransmissions have in common
--   per_hour    invitations by one inviter, 0 for no limit
--   per_target  invitations of one user by one inviter, per hour, 0 for no limit
--   ...         how many invitations of each target there are
--
-- Returns:
--   (list)  ms to wait, 0 if they were charged; 1 if the inviter has to wait for all users, 0 for one of these only
local inviter = KEYS[1]
local targets = { unpack(KEYS, 2) }
local digest, per_hour, per_target = unpack(ARGV)
local counts = { unpack(ARGV, 4) }
assert(#targets == #counts, "a number for each target")
per_hour, per_target = tonumber(per_hour), tonumber(per_target)
--- @include "budget"

local budgets, total = { { inviter, 0, per_hour, 1 } }, 0
for i, target in ipairs(targets) do
    budgets[#budgets + 1] = { target, tonumber(counts[i]), per_target, 0 }
    total = total + tonumber(counts[i])
end
budgets[1][2] = total

local charged, waiting, for_all = {}, 0, 0
for _, each in ipairs(budgets) do
    local budget, count, most, all = unpack(each)
    if most > 0 then
        local tokens, last = left(budget, most, most)
        if last == digest then
            return { 0, 0 }
        end
        local wait = wait_ms(tokens, count, most)
        if wait > waiting then
            waiting, for_all = wait, all
        end
        charged[#charged + 1] = { budget, tokens - count, most }
    end
end
if waiting == 0 then
    for _, each in ipairs(charged) do
        local budget, tokens, most = unpack(each)
        keep(budget, tokens, digest, most, most)
    end
end
return { waiting, for_all }
