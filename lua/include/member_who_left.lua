-- Who has deleted a chat of two, and is to be invited with the next message or with a third member (of_two). Gives
-- member_who_left.

-- Members and invited users of a room in which somebody is looked for: it was one of two.
local MAX_LOOKED_AT = 8

-- `members` and `room` are keys. Nil in all other rooms.
local function member_who_left(members, room)
    if redis.call("HLEN", members) > MAX_LOOKED_AT then
        return nil
    end
    local all = redis.call("HGETALL", members)
    for i = 1, #all, 2 do
        local is_inviting = all[i + 1]:find(" inviting", 1, true)
        if is_inviting and redis.pcall("HEXISTS", room, "left:" .. all[i]) == 1 then
            return all[i]
        end
    end
    return nil
end
