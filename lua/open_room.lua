-- A member wants the room in a client that shows rooms as conferences: its devices are asked by INVITE. Until one accepts,
-- the member goes on as before.
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
--
-- Returns:
--   done   the request was handled, which may be a refusal
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   refused  to the sender: unknown_room, not_member
local requests, events, rooms, room, members = unpack(KEYS)
local entry_id, delivery_chunk = unpack(ARGV)
--- @include "request"
--- @include "refuse"
--- @include "invite"

local reason = refusal("member")
if reason then
    return refuse(reason)
end

commit()
send_invite(room, members, request.room, request.from, request.from)
return "done"
