-- The sender creates a room and owns it, or joins it if it exists, is public and check_on_create is 0.
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
--   check_on_create      1: a room that exists is never joined by create
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
--   refused         to the sender: room_exists, you_are_banned, room_full, too_many_devices, too_many_rooms
local requests, events, rooms, room, members, owned_rooms, private_rooms = unpack(KEYS)
local entry_id, delivery_chunk, check_on_create, max_rooms_per_owner, owned_elsewhere, max_members, announce_joins, client_devices = unpack(ARGV)
--- @include "request"
--- @include "refuse"
--- @include "create_and_own"
--- @include "join_existing"

if not private then
    return create_and_own()
elseif private == "1" or check_on_create == "1" then
    return refuse("room_exists")
end
return join_existing()
