-- Who gets what a sender says: all members but the sender, neither the invited nor who is away. Needs what may_speak
-- gives. Gives other_members.

-- `members` is the key of the room's members. Returns the addresses and how many there are.
local function other_members(members, sender)
    local others, n = {}, 0
    local all = redis.call("HGETALL", members)
    for i = 1, #all, 2 do
        local value = all[i + 1]
        if (value == "member" or HERE[value]) and all[i] ~= sender then
            n = n + 1
            others[n] = all[i]
        end
    end
    return others, n
end
