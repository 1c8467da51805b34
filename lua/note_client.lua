-- The report of a message that a member has refused in message/cpim and accepted as text: the member's client gets text
-- from now on, until the membership ends or a device of the member enters the room.
--
-- KEYS:
--   requests  imc:{S}:in            stream
--   events    imc:{S}:out           stream
--   rooms     imc_rooms:{S}         sorted set
--   room      imc_rooms:{S}:ROOM    hash
--   members   imc_members:{S}:ROOM  hash
--
-- ARGV:
--   entry_id        the report's id in requests; its field from is the recipient
--   delivery_chunk  recipients per event entry, at most
--
-- Returns:
--   done   the report was handled
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
local requests, events, rooms, room, members = unpack(KEYS)
local entry_id, delivery_chunk = unpack(ARGV)
--- @include "request"
--- @include "may_speak"
--- @include "client"

assert(tonumber(delivery_chunk), "delivery_chunk")
redis.call("XLEN", events) -- is a stream
redis.call("ZCARD", rooms) -- is a sorted set
redis.call("HLEN", room) -- is a hash
local value = redis.call("HGET", members, request.from)
commit()
if is_member(value) and HERE[value] ~= "devices" and not value:find(" inviting", 1, true) then
    note_client(members, request.from, value, "text")
end
return "done"
