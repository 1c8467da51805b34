-- The invited sender becomes a member.
--
-- KEYS:
--   requests       imc:{S}:in                    stream
--   events         imc:{S}:out                   stream
--   rooms          imc_rooms:{S}                 sorted set
--   room           imc_rooms:{S}:ROOM            hash
--   members        imc_members:{S}:ROOM          hash
--   private_rooms  imc:{S}:private_rooms:SENDER  set
--
-- ARGV:
--   entry_id        the request's id in requests
--   delivery_chunk  recipients per event entry, at most
--   announce_joins  1: all members hear of joins and leaves, unless the room says otherwise
--   client_devices  devices of the sender that show conferences, separated by spaces
--
-- Returns:
--   done   the request was handled, which may be a refusal
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   joined          to all members, the new one too
--   already_member  to the sender; command: the request's type
--   refused         to the sender: unknown_room, not_invited
local requests, events, rooms, room, members, private_rooms = unpack(KEYS)
local entry_id, delivery_chunk, announce_joins, client_devices = unpack(ARGV)
--- @include "request"
--- @include "refuse"
--- @include "admit"

if is_member(sender_role) then
    commit()
    emit("already_member", { request.from }, "command", request.type)
    return "done"
elseif sender_role ~= "invited" then
    return refuse(private == "0" and "not_invited" or "unknown_room")
end

commit()
admit(request.from, "joined")
return "done"
