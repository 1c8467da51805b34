-- An owner destroys the room: its members are told, then room, members, invitations and all it keeps are deleted.
--
-- KEYS:
--   requests     imc:{S}:in            stream
--   events       imc:{S}:out           stream
--   rooms        imc_rooms:{S}         sorted set
--   room         imc_rooms:{S}:ROOM    hash
--   members      imc_members:{S}:ROOM  hash
--   history      imc_history:{S}:ROOM  stream
--   history_off  imc:{S}:history_off   set
--
-- ARGV:
--   entry_id              the request's id in requests
--   delivery_chunk        recipients per event entry, at most
--   private_rooms_prefix  imc:{S}:private_rooms:
--   owned_rooms_prefix    imc:{S}:owned_rooms:
--
-- Returns:
--   done   the request was handled, which may be a refusal
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   destroyed  to all members, the sender too
--   refused    to the sender: unknown_room, not_member, admins_only, owner_only
local requests, events, rooms, room, members, history, history_off = unpack(KEYS)
local entry_id, delivery_chunk, private_rooms_prefix, owned_rooms_prefix = unpack(ARGV)
--- @include "request"
--- @include "refuse"
--- @include "destroy"

local reason = refusal("owner")
if reason then
    return refuse(reason)
end
return destroy()
