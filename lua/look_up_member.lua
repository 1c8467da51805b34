-- An edge looks up whether a user belongs to a room, before it answers a request of the user in a dialog.
--
-- KEYS:
--   room     imc_rooms:{S}:ROOM    hash
--   members  imc_members:{S}:ROOM  hash
--
-- ARGV:
--   user  address of the user
--
-- Returns:
--   (role)   owner, admin or member of a member, who may be away; invited of a user with an open invitation
--   none     the room is public, and the user is none of its members
--   private  the room is private, and the user is none of its members
--   unknown  there is no such room
local room, members = unpack(KEYS)
local user = unpack(ARGV)
assert(user, "user")
--- @include "role"

local private = redis.call("HGET", room, "private")
local role = role_of(redis.call("HGET", members, user))
if role then
    return role
elseif not private then
    return "unknown"
end
if private == "1" then
    return "private"
end
return "none"
