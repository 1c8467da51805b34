-- The dialog of a device has ended, but not its place in the room: a client that was started again knows the room without a
-- dialog. Messages need none.
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
local requests, events, rooms, room, members = unpack(KEYS)
local entry_id, delivery_chunk = unpack(ARGV)
--- @include "request"
--- @include "emit"
--- @include "dialog"
--- @include "own_dialog"

assert(tonumber(delivery_chunk), "delivery_chunk")
redis.call("ZCARD", rooms) -- is a sorted set
redis.call("HLEN", members)
redis.call("HLEN", room)
local device = own_device()
commit()
if device then
    redis.call("HDEL", room, "dialog:" .. device)
end
return "done"
