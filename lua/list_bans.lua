-- An owner or admin gets the list of banned users. They are in no order.
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
--   bans     to the sender; list: "address address ..."
--   refused  to the sender: unknown_room, not_member, admins_only
local requests, events, rooms, room, members = unpack(KEYS)
local entry_id, delivery_chunk = unpack(ARGV)
--- @include "request"
--- @include "refuse"
--- @include "bans"

local reason = refusal("admin")
if reason then
    return refuse(reason)
end

local list = table.concat(bans(), " ")
commit()
emit("bans", { request.from }, "list", list)
return "done"
