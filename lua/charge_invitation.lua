-- One invitation comes off two budgets, that of the inviter and that of the inviter for this one target, or off
-- none if one of them is used up. A repetition of the last one costs nothing.
--
-- KEYS:
--   inviter  imc:{S}:budget:KIND:USER  hash
--   target   imc:{S}:budget:KIND:USER  hash
--
-- ARGV:
--   digest      what tells a repetition from a new invitation
--   per_hour    invitations of one inviter
--   per_target  those to one target, per hour
--
-- Returns:
--   (list)  ms to wait before it may be, 0 if it is counted; 1 if that is so for all targets, 0 for this one
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
