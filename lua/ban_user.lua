-- A user is removed from the room, at every port of the address, and may not come in again: neither by join, create
-- or invitation nor by add. An owner cannot be banned, an admin only by an owner. A user may be banned who is not in
-- the room.
--
-- KEYS:
--   requests  imc:{S}:in            stream
--   events    imc:{S}:out           stream
--   rooms     imc_rooms:{S}         sorted set
--   room      imc_rooms:{S}:ROOM    hash
--   members   imc_members:{S}:ROOM  hash
--
-- ARGV:
--   entry_id              the request's id in requests
--   delivery_chunk        recipients per event entry, at most
--   max_bans              bans of a room, at most, 0 no limit
--   private_rooms_prefix  imc:{S}:private_rooms:
--   owned_rooms_prefix    imc:{S}:owned_rooms:
--
-- Returns:
--   done   the request was handled, which may be a refusal
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   you_were_banned  to the user, if it was a member or invited; user: the banned one
--   banned           to the other members, or only to the sender, owners and admins if the user was not in the
--                    room; user: the banned one
--   refused          to the sender: unknown_room, not_member, admins_only, owner_only, is_room, user_is_banned,
--                    is_owner, too_many_bans
local requests, events, rooms, room, members = unpack(KEYS)
local entry_id, delivery_chunk, max_bans, private_rooms_prefix, owned_rooms_prefix = unpack(ARGV)
--- @include "request"
--- @include "refuse"
--- @include "member_state"
--- @include "bans"
--- @include "dismiss"

assert(owned_rooms_prefix, "max_bans and both prefixes")
max_bans = tonumber(max_bans)

-- Everybody in the room who is this user, at whatever port, and the roles they have.
local function present()
    local found, roles, all = {}, {}, redis.call("HGETALL", members)
    for i = 1, #all, 2 do
        if without_port(all[i]) == without_port(request.user) then
            found[#found + 1], roles[role_of(all[i + 1])] = all[i], true
        end
    end
    return found, roles
end

-- First alone: the members of a private room are not read for a stranger.
local reason = refusal("admin")
if reason then
    return refuse(reason)
end
local gone, roles = present()
reason = (request.user == request.room and "is_room")
    or (roles.owner and "is_owner")
    or (roles.admin and sender_role ~= "owner" and not operator and "owner_only")
    or (is_banned(request.user) and "user_is_banned")
    or (max_bans > 0 and #bans() >= max_bans and "too_many_bans")
if reason then
    return refuse(reason)
end

for _, address in ipairs(gone) do
    redis.call("SCARD", private_rooms_prefix .. address) -- is a set
end
commit()
local told = {}
for _, address in ipairs(gone) do
    told[#told + 1] = not dismiss(address) and address or nil
    forget_member(address)
    redis.call("SREM", private_rooms_prefix .. address, request.room)
end
redis.call("HSET", room, "ban:" .. without_port(request.user), request.from)
emit("you_were_banned", told, "user", request.user)
tell("banned", { request.from }, here(#gone > 0 and RANK or IN_CHARGE), "user", request.user)
return "done"
