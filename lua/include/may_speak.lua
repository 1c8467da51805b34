-- Who is a member of a room, who may speak in it, and who is told of what happens. This is the only place of these
-- rules: messages are delivered by them (broadcast_message, broadcast_messages), refused (refuse), and charged to
-- their sender (accept_many). Gives HERE, role_of, is_member, is_away, may_speak, with_role_of.
--
-- `value` is the user's field of the members: the role, followed by " away" for a member who could not be reached, or
-- false if there is none. imc_common/rooms/roles.py reads it in the same way.

-- The values of members who are not away. A table, because a broadcast looks at every member.
local HERE = { owner = true, admin = true, member = true }

local function role_of(value)
    return value and value:match("^%a+")
end

local function is_member(value)
    return value and value ~= "invited"
end

-- A member who is away gets no messages and no notices: the history of the room keeps the messages.
local function is_away(value)
    return is_member(value) and not HERE[value]
end

-- Every member may speak, whatever the role.
local may_speak = is_member

-- The value of a user who gets another role: who is away stays away.
local function with_role_of(value, role)
    return is_away(value) and role .. " away" or role
end
