-- Who may speak in a room: its members of any role, but not users who are only invited. This is the only place of
-- the rule: messages are delivered by it (broadcast_message, broadcast_messages), refused by it (refuse), and
-- charged to their sender by it (accept). Gives is_member, may_speak.

local function is_member(role)
    return role and role ~= "invited"
end

-- `members` is the key of the room's members. Reads one field, so the time does not tell how many members there are.
local function may_speak(members, address)
    return is_member(redis.call("HGET", members, address))
end
