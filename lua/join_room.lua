-- The sender becomes a member of a public room, or of a private one it is invited to. A room that does not exist
-- is created if create_on_join is 1.
--
-- KEYS:
--   requests       imc:{S}:in                    stream
--   events         imc:{S}:out                   stream
--   rooms          imc_rooms:{S}                 sorted set
--   room           imc_rooms:{S}:ROOM            hash
--   members        imc_members:{S}:ROOM          hash
--   owned_rooms    imc:{S}:owned_rooms:SENDER    set
--   private_rooms  imc:{S}:private_rooms:SENDER  set
--
-- ARGV:
--   entry_id             the request's id in requests
--   delivery_chunk       recipients per event entry, at most
--   create_on_join       1: join makes a room that is not there
--   max_rooms_per_owner  limit of rooms one user owns, 0 none
--   owned_elsewhere      rooms of that user in other shards
--   max_members          limit of members and invitations, 0 none
--   announce_joins       1: all members hear of joins and leaves, unless the room says otherwise
--   client_devices       devices of the sender that show conferences, separated by spaces
--
-- Returns:
--   done   the request was handled, which may be a refusal
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   created         to the sender, its owner now; detail: public, private
--   joined          to all members, the new one too
--   already_member  to the sender; command: the request's type
--   join_refused    to owners and admins: a user who is not banned tried to join a private room
--                   without an invitation
--   refused         to the sender: unknown_room, you_are_banned, room_full, too_many_devices, too_many_rooms
local requests, events, rooms, room, members, owned_rooms, private_rooms = unpack(KEYS)
local entry_id, delivery_chunk, create_on_join, max_rooms_per_owner, owned_elsewhere, max_members, announce_joins, client_devices = unpack(ARGV)
--- @include "request"
--- @include "refuse"
--- @include "create_and_own"
--- @include "join_existing"

if not private and create_on_join == "1" then
    return create_and_own()
elseif not private then
    return refuse("unknown_room")
elseif private == "1" and not sender_role then
    refuse("unknown_room")
    if not is_banned(request.from) then
        emit("join_refused", here(IN_CHARGE))
    end
    return "done"
end
return join_existing()
