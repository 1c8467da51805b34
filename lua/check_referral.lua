-- An edge asks, before it answers the REFER of an owner or admin, whether the room allows it. What only the worker can know,
-- as whether an earlier request adds the user, is no reason.
--
-- KEYS:
--   room     imc_rooms:{S}:ROOM    hash
--   members  imc_members:{S}:ROOM  hash
--
-- ARGV:
--   type    add, remove or modify
--   sender  address of the sender
--   user    address of the user that Refer-To names
--   role    the role that the user is to have; empty unless type is modify
--
-- Returns:
--   allowed    nothing is against it
--   forbidden  only an owner may do this, or nobody; or the user is banned
local room, members = unpack(KEYS)
local type, sender, user, role = unpack(ARGV)
assert(role, "type, sender, user and role")
--- @include "role"
--- @include "authority"
--- @include "bans"

local sender_role = role_of(redis.call("HGET", members, sender))
local user_role = role_of(redis.call("HGET", members, user))
local has_ban = is_banned(user)
local is_forbidden = type == "remove" and against_removal(sender_role, user_role)
    or type == "modify" and user_role ~= role and against_role(sender_role, user_role, role, user == sender)
    or type == "add" and not is_member(user_role) and has_ban
if is_forbidden then
    return "forbidden"
end
return "allowed"
