-- A member or an invitation is removed. An owner cannot be removed, an admin only by an owner.
--
-- KEYS:
--   requests       imc:{S}:in                  stream
--   events         imc:{S}:out                 stream
--   rooms          imc_rooms:{S}               sorted set
--   room           imc_rooms:{S}:ROOM          hash
--   members        imc_members:{S}:ROOM        hash
--   private_rooms  imc:{S}:private_rooms:USER  set
--
-- ARGV:
--   entry_id        the request's id in requests
--   delivery_chunk  recipients per event entry, at most
--
-- Returns:
--   done   the request was handled, which may be a refusal
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   you_were_removed  to the user; user: the same, role: the one it had
--   removed           to the other members; user: the removed one, role: the one it had
--   refused           to the sender: unknown_room, not_member, admins_only, owner_only, not_in_room, is_owner
local requests, events, rooms, room, members, private_rooms = unpack(KEYS)
local entry_id, delivery_chunk = unpack(ARGV)
--- @include "request"
--- @include "refuse"
--- @include "member_state"
--- @include "dismiss"
--- @include "authority"

redis.call("SCARD", private_rooms) -- is a set
local user_role = role_of(redis.call("HGET", members, request.user))
local reason = refusal("admin")
    or (not user_role and "not_in_room")
    or against_removal(operator and "owner" or sender_role, user_role)
if reason then
    return refuse(reason)
end

commit()
local had_devices = dismiss(request.user)
forget_member(request.user)
redis.call("SREM", private_rooms, request.room)
emit("you_were_removed", had_devices and {} or { request.user }, "user", request.user, "role", user_role)
tell("removed", { request.from }, here(RANK), "user", request.user, "role", user_role)
return "done"
