-- A member asks for what was said in the room. An edge shows it when it has time (show_history): so what many members ask
-- for at once does not wait in the stream before the messages of others.
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
--   catch_up  to the sender; catch_up: replay; text: what it asks for
--   refused   to the sender: unknown_room, not_member
local requests, events, rooms, room, members = unpack(KEYS)
local entry_id, delivery_chunk = unpack(ARGV)
--- @include "request"
--- @include "refuse"

local reason = refusal("member")
if reason then
    return refuse(reason)
end
commit()
emit("catch_up", { request.from }, "catch_up", "replay", "text", request.text or "")
return "done"
