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
--   (list)  ms to wait before it may be, 0 if it is counted; 1 if nobody has been told of it, else 0
local inviter, target = unpack(KEYS)
local digest, per_hour, per_target = unpack(ARGV)
per_hour, per_target = tonumber(per_hour), tonumber(per_target)
--- @include "budget"

local budgets, waiting, all_told = {}, 0, true
for _, each in ipairs({ { inviter, per_hour }, { target, per_target } }) do
    local budget, most = unpack(each)
    if most > 0 then
        local tokens, told, last = left(budget, most, most)
        if last == digest then
            return { 0, 0 }
        end
        local wait = wait_ms(tokens, 1, most)
        waiting = math.max(waiting, wait)
        all_told = all_told and (told or wait == 0)
        budgets[#budgets + 1] = { budget, tokens, wait > 0, last, most }
    end
end
for _, each in ipairs(budgets) do
    local budget, tokens, short, last, most = unpack(each)
    if waiting == 0 then
        keep(budget, tokens - 1, false, digest, most, most)
    elseif short then
        keep(budget, tokens, true, last, most, most)
    end
end
return { waiting, (waiting > 0 and not all_told) and 1 or 0 }
