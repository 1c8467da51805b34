-- An owner ends the room: its members are told, then room, members and invitations are gone.
--
-- KEYS:
--   requests     imc:{S}:in                stream
--   events       imc:{S}:out               stream
--   rooms        imc_rooms:{S}             sorted set
--   room         imc_rooms:{S}:ROOM        hash
--   members      imc_members:{S}:ROOM      hash
--   unreachable  imc:{S}:unreachable:ROOM  hash
--
-- ARGV:
--   entry_id              the request's id in requests
--   delivery_chunk        recipients per event entry, at most
--   private_rooms_prefix  imc:{S}:private_rooms:
--   owned_rooms_prefix    imc:{S}:owned_rooms:
--
-- Returns:
--   done   the request had its effect, which may be a refusal
--   gone   it had its effect before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   destroyed  to all members, the sender too
--   refused    to the sender: unknown_room, not_member, admins_only, owner_only
local requests, events, rooms, room, members, unreachable = unpack(KEYS)
local entry_id, delivery_chunk, private_rooms_prefix, owned_rooms_prefix = unpack(ARGV)
--- @include "head"
--- @include "emit"
--- @include "room"
--- @include "refuse"
--- @include "without_port"
--- @include "destroy"

local reason = refusal("owner")
if reason then
    return refuse(reason)
end
return destroy()
