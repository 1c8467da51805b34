-- The report of the last message of a part, which did not find the member away: an edge is asked to hand it the next
-- part. A report of another chain of parts, which was replaced, changes nothing. `of` is the id of that message.
-- For a device, `members` are the devices of the room.
--
-- KEYS:
--   requests  imc:{S}:in            stream
--   events    imc:{S}:out           stream
--   rooms     imc_rooms:{S}         sorted set
--   room      imc_rooms:{S}:ROOM    hash
--   members   imc_members:{S}:ROOM or imc_devices:{S}:ROOM  hash
--
-- ARGV:
--   entry_id        the request's id in requests
--   delivery_chunk  recipients per event entry, at most
--
-- Returns:
--   done   the request was handled, which may be a refusal
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
local requests, events, rooms, room, members = unpack(KEYS)
local entry_id, delivery_chunk = unpack(ARGV)
--- @include "request"
--- @include "emit"
--- @include "role"
--- @include "call_back"

redis.call("ZCARD", rooms) -- is a sorted set
local user, address = request.from, request.room
local is_next = is_away(redis.call("HGET", members, user)) and redis.call("HGET", room, "returning:" .. user) == request.of
commit()
if is_next then
    call_back(room, address, user, false)
end
return "done"
