-- A session is confirmed by ACK: a client has sent it, or has got it from an edge and repeats its 2xx no more. The session is
-- found by its Call-ID, among those of the sender's devices.
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
--- @include "confirm"

assert(tonumber(delivery_chunk), "delivery_chunk")
redis.call("ZCARD", rooms) -- is a sorted set
redis.call("HLEN", members)
redis.call("HLEN", room)
local device = own_device()
local text = device and redis.call("HGET", room, "dialog:" .. device)
commit()
if text and not text:find('"state":"confirmed"}', 1, true) then
    confirm_session(device, text)
end
return "done"
