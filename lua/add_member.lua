-- The user becomes a member at once, with or without an invitation.
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
--   max_members     limit of members and invitations, 0 none
--   announce_joins  1: all members hear of joins and leaves, unless the room says otherwise
--   client_devices  devices of the user that show conferences, separated by spaces
--
-- Returns:
--   done   the request was handled, which may be a refusal
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   added    to all members, the new one too; user: the new one
--   refused  to the sender: unknown_room, not_member, admins_only, is_room, user_is_member, user_is_banned,
--            room_full, too_many_devices
local requests, events, rooms, room, members, private_rooms = unpack(KEYS)
local entry_id, delivery_chunk, max_members, announce_joins, client_devices = unpack(ARGV)
--- @include "request"
--- @include "refuse"
--- @include "capacity"
--- @include "admit"
--- @include "bans"

local user_role = role_of(redis.call("HGET", members, request.user))
local reason = refusal("admin")
    or (request.user == request.room and "is_room")
    or (is_member(user_role) and "user_is_member")
    or (is_banned(request.user) and "user_is_banned")
    or (not user_role and lack_of_place(request.user))
if reason then
    return refuse(reason)
end

commit()
admit(request.user, "added", "user", request.user)
return "done"
