-- A typing notification (RFC 3994) goes to the other members who are here, at most one per sender and interval. It is
-- never kept and never refused: what comes too often, or from somebody who is no member, is discarded.
--
-- KEYS:
--   requests  imc:{S}:in                  stream
--   events    imc:{S}:out                 stream
--   rooms     imc_rooms:{S}               sorted set
--   room      imc_rooms:{S}:ROOM          hash
--   members   imc_members:{S}:ROOM        hash
--   typing    imc:{S}:typing:ROOM:SENDER  string
--
-- ARGV:
--   entry_id        the request's id in requests
--   delivery_chunk  recipients per event entry, at most
--   interval_ms     time between two notifications of one sender, at least
--
-- Returns:
--   done   the request was handled
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   typing  to the other members who are here; client: the kind of client of all recipients, if they need the
--           notification in another form
local requests, events, rooms, room, members, typing = unpack(KEYS)
local entry_id, delivery_chunk, interval_ms = unpack(ARGV)
--- @include "request"
--- @include "emit"
--- @include "may_speak"
--- @include "other_members"
--- @include "other_devices"
--- @include "client"

assert(tonumber(interval_ms) > 0, "interval_ms")
redis.call("ZCARD", rooms) -- is a sorted set
redis.call("HLEN", room) -- is a hash
redis.call("GET", typing) -- is a string
local others, n, apart, has_devices, devices = nil, 0, nil, false, nil
local value = redis.call("HGET", members, request.from)
if may_speak(value) then
    others, n, apart, has_devices = other_members(members, request.from, other_client(request))
    devices = (has_devices or HERE[value] == "devices") and other_devices(devices_of(request.room), request)
end
commit()
note_cpim(members, request, value)
if n > 0 and redis.call("SET", typing, "1", "NX", "PX", interval_ms) then
    emit("typing", others)
    if apart then
        emit("typing", apart, "client", other_client(request))
    end
    emit("typing", devices or {}, "client", "device")
end
return "done"
