-- A plain message goes to every member but its sender, never to the invited. Only members may speak.
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
--   done   the request had its effect, which may be a refusal
--   gone   it had its effect before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   message  to all members but the sender
--   refused  to the sender: unknown_room, not_member
local requests, events, rooms, room, members = unpack(KEYS)
local entry_id, delivery_chunk = unpack(ARGV)
--- @include "head"
--- @include "emit"
--- @include "room"

local reason = refusal("member")
if reason then
    return refuse(reason)
end

commit()
emit("message", with_role(MEMBERS, request.from))
return "done"
