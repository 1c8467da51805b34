-- Who is a member of a room, and who may speak in it. This is the only place of these rules: messages are delivered by
-- may_speak (broadcast_message, broadcast_messages), refused (refuse), and charged to their sender (accept_many).
-- Gives is_member, may_speak.

-- `role` is the user's field of the members, false if there is none.
local function is_member(role)
    return role and role ~= "invited"
end

-- Every member may speak, whatever the role.
local may_speak = is_member
