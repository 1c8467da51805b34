-- The room announces joins and leaves to all members, or only to those concerned, whatever the setting
-- announce_joins says.
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
--   announce_set  to the sender, owners and admins; detail: on, off
--   refused       to the sender: unknown_room, not_member, admins_only
local requests, events, rooms, room, members = unpack(KEYS)
local entry_id, delivery_chunk = unpack(ARGV)
--- @include "request"
--- @include "refuse"

local reason = refusal("admin")
if reason then
    return refuse(reason)
end

local is_off = request.text == "off"
commit()
redis.call("HSET", room, "announce", is_off and "0" or "1")
tell("announce_set", { request.from }, here(IN_CHARGE), "detail", is_off and "off" or "on")
return "done"
