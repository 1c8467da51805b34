-- The user is invited, and told so once until the user accepts or declines. The room remembers the event's id: the
-- failed delivery of an earlier invitation must not withdraw this one.
--
-- KEYS:
--   requests  imc:{S}:in            stream
--   events    imc:{S}:out           stream
--   rooms     imc_rooms:{S}         sorted set
--   room      imc_rooms:{S}:ROOM    hash
--   members   imc_members:{S}:ROOM  hash
--
-- ARGV:
--   entry_id        the request's id in requests
--   delivery_chunk  recipients per event entry, at most
--   max_members     limit of members and invitations, 0 none
--
-- Returns:
--   done   the request was handled, which may be a refusal
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   invited          to the user; user: the same
--   invitation_sent  to the sender; user: the invited
--   refused          to the sender: unknown_room, not_member, admins_only, is_room, user_is_member,
--                    user_is_invited, user_is_banned, room_full, too_many_devices
local requests, events, rooms, room, members = unpack(KEYS)
local entry_id, delivery_chunk, max_members = unpack(ARGV)
--- @include "request"
--- @include "refuse"
--- @include "capacity"
--- @include "bans"

local user_role = role_of(redis.call("HGET", members, request.user))
local reason = refusal("admin")
    or (request.user == request.room and "is_room")
    or (is_member(user_role) and "user_is_member")
    or (user_role == "invited" and "user_is_invited")
    or (is_banned(request.user) and "user_is_banned")
    or lack_of_place(request.user)
if reason then
    return refuse(reason)
end

commit()
redis.call("HSET", members, request.user, "invited")
tell("invitation_sent", { request.from }, {}, "user", request.user)
redis.call("HSET", room, "invitation:" .. request.user, emit("invited", { request.user }, "user", request.user))
return "done"
