-- Who is a member of a room, who may speak in it, and who is told of what happens. This is the only place of these
-- rules: messages are delivered by them (broadcast_message, broadcast_messages), refused (refuse), and charged to
-- their sender (accept_many). Gives HERE, is_member, may_speak.
--
-- `value` is the user's field of the members, or false if there is none: the role, then " cpim" or " text" if
-- something is known of the member's client, or " devices" for a member whose devices get the messages, or " inviting" for
-- one whose client is asked for them; then " away" for a member who could not be reached. A device has such a field, too,
-- in the devices of the room: "device". imc_common/rooms/roles.py reads it in the same way.

-- The values of members who are not away, with what is known of the client, or true. A table, because a broadcast looks at
-- every member. A member who is away gets no messages and no notices: the history of the room keeps the messages.
local HERE = {
    owner = true, admin = true, member = true,
    ["owner cpim"] = "cpim", ["admin cpim"] = "cpim", ["member cpim"] = "cpim",
    ["owner text"] = "text", ["admin text"] = "text", ["member text"] = "text",
    ["owner devices"] = "devices", ["admin devices"] = "devices", ["member devices"] = "devices",
    device = true,
}

local function is_member(value)
    return value and value ~= "invited"
end

-- Every member may speak, whatever the role.
local may_speak = is_member
