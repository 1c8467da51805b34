-- Who may say something in a room, and who hears it: all members but the sender, never the invited. Gives
-- is_member, others_of; `members` is the room's hash.

-- Whether this is somebody who may speak: costs the same in any room, and where there is none.
local function is_member(members, address)
    local role = redis.call("HGET", members, address)
    return role and role ~= "invited"
end

-- The others of a room, and how many.
local function others_of(members, sender)
    local others, n = {}, 0
    local all = redis.call("HGETALL", members)
    for i = 1, #all, 2 do
        if all[i] ~= sender and all[i + 1] ~= "invited" then
            n = n + 1
            others[n] = all[i]
        end
    end
    return others, n
end
