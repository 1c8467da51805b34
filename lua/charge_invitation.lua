-- One invitation is charged to two budgets, the inviter's and the inviter's for this one user; to neither if one
-- of them is used up. A retransmission of the last one is not charged again.
--
-- KEYS:
--   inviter  imc:{S}:budget:KIND:USER  hash
--   target   imc:{S}:budget:KIND:USER  hash
--
-- ARGV:
--   digest      hash that the invitation and its retransmissions have in common
--   per_hour    invitations by one inviter, 0 for no limit
--   per_target  invitations of one user by one inviter, per hour, 0 for no limit
--
-- Returns:
--   (list)  ms to wait, 0 if it was charged; 1 if the inviter has to wait for all users, 0 for this one only
local inviter, target = unpack(KEYS)
local digest, per_hour, per_target = unpack(ARGV)
per_hour, per_target = tonumber(per_hour), tonumber(per_target)
--- @include "budget"

local budgets, waiting, for_all = {}, 0, 0
for _, each in ipairs({ { inviter, per_hour, 1 }, { target, per_target, 0 } }) do
    local budget, most, all = unpack(each)
    if most > 0 then
        local tokens, last = left(budget, most, most)
        if last == digest then
            return { 0, 0 }
        end
        local wait = wait_ms(tokens, 1, most)
        if wait > waiting then
            waiting, for_all = wait, all
        end
        budgets[#budgets + 1] = { budget, tokens, most }
    end
end
if waiting == 0 then
    for _, each in ipairs(budgets) do
        local budget, tokens, most = unpack(each)
        keep(budget, tokens - 1, digest, most, most)
    end
end
return { waiting, for_all }
