-- Who hears what a member says: all members but the sender, never the invited. Gives recipients_of.

-- The others of a room, how many, and whether the sender is a member; `members` is the room's hash.
local function recipients_of(members, sender)
    local others, n, speaks = {}, 0, false
    local all = redis.call("HGETALL", members)
    for i = 1, #all, 2 do
        if all[i + 1] == "invited" then -- hears nothing and says nothing
        elseif all[i] == sender then
            speaks = true
        else
            n = n + 1
            others[n] = all[i]
        end
    end
    return others, n, speaks
end
